"""torchrun for one node, through its Python interface: run as ``python -m misstep.distributed.agent JSON``.

The JSON object has ``command``, ``nodes``, ``node``, ``processes_per_node``, ``address``, ``port``, ``timeout``
(seconds for all nodes to meet), ``parent`` (process id) and ``report``: the file in which failed ranks are recorded;
also ``peers``, the file in which silent nodes are recorded, and ``silence``, after how many seconds a node counts as
silent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from misstep.processes import die_with_parent

EXIT_RANKS_FAILED = 3
EXIT_PORT_IN_USE = 4
_BEAT_SECONDS = 2.0
_LEFT = 1 << 40
"""A count that no node reaches by counting: it means that the node is finished and must no longer be monitored."""


def main(argv: list[str]) -> int:
    """Run the ranks of one node until they end; return 0 if all of them succeeded."""
    given = json.loads(argv[0])
    # Ranks have their own sessions, which a signal to our group does not reach: each asks the kernel to end it with
    # this process.
    die_with_parent(signal.SIGKILL, given["parent"])
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    leaving = threading.Event()
    listener = threading.Thread(target=_listen_to_peers, args=(given, leaving), daemon=True)
    if given["nodes"] > 1:
        listener.start()
    try:
        _launch(given)
    except ChildFailedError as error:
        failures = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        Path(given["report"]).write_text(json.dumps(failures))
        return EXIT_RANKS_FAILED
    except DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            return EXIT_PORT_IN_USE
        raise
    leaving.set()
    if given["nodes"] > 1:
        listener.join(2 * _BEAT_SECONDS)
    return 0


def _listen_to_peers(given: dict[str, Any], leaving: threading.Event) -> None:
    """Increment this node's counter at the rendezvous store every few seconds, and record which other nodes' counters
    have started but stand still. Once the store does not answer, nothing is recorded any more.

    A machine that is lost does not close its connections, and its peers would wait for it in torch until their timeout.
    """
    from torch.distributed import DistError, TCPStore

    own, peers = f"misstep/{given['node']}", Path(given["peers"])
    others = [node for node in range(given["nodes"]) if node != given["node"]]
    heard = dict.fromkeys(others, (0, time.monotonic()))
    with suppress(DistError):
        store = TCPStore(given["address"], given["port"], is_master=False, timeout=timedelta(seconds=given["timeout"]))
        while not leaving.wait(_BEAT_SECONDS):
            store.add(own, 1)
            counts = {node: store.add(f"misstep/{node}", 0) for node in others}
            now = time.monotonic()
            heard |= {node: (count, now) for node, count in counts.items() if count != heard[node][0]}
            silent = [node for node, (count, at) in heard.items() if 0 < count < _LEFT and now - at > given["silence"]]
            half = peers.with_suffix(".tmp")
            half.write_text(json.dumps(silent))
            half.replace(peers)
        store.add(own, _LEFT)


def _launch(given: dict[str, Any]) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    command = given["command"]
    # torch before 2.13 has no such setting and gives ranks 30 seconds to end.
    end = {"shutdown_timeout": 5} if "shutdown_timeout" in LaunchConfig.__dataclass_fields__ else {}
    config = LaunchConfig(
        min_nodes=given["nodes"],
        max_nodes=given["nodes"],
        nproc_per_node=given["processes_per_node"],
        run_id="misstep",
        rdzv_backend="static",
        rdzv_endpoint=f"{given['address']}:{given['port']}",
        rdzv_configs={"rank": given["node"], "timeout": given["timeout"]},
        max_restarts=0,  # whoever started the stage restarts it, and it resumes from its last checkpoint
        monitor_interval=0.5,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(given["report"]).parent / "torchelastic")),
        **end,
    )
    elastic_launch(config, command[0])(*command[1:])


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # the thread that monitors peers may be inside torch: a normal exit would wait for it, or crash
