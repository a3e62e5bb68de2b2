"""torchrun for one node, through its Python interface: run as ``python -m misstep.stages.agent JSON``.

The JSON object has ``command``, ``nodes``, ``node``, ``processes_per_node``, ``address``, ``port``, ``timeout``
(seconds for all nodes to meet), ``parent`` (process id) and ``report``: the file that is told of ranks that failed.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from misstep.processes import die_with_parent

EXIT_RANKS_FAILED = 3
EXIT_PORT_IN_USE = 4


def main(argv: list[str]) -> int:
    """Run the ranks of one node to their end; 0 where all of them ended well."""
    given = json.loads(argv[0])
    # Ranks live in sessions of their own, out of reach of a signal to our group: each asks to die with this process.
    die_with_parent(signal.SIGKILL, given["parent"])
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

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
    return 0


def _launch(given: dict[str, Any]) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    command = given["command"]
    config = LaunchConfig(
        min_nodes=given["nodes"],
        max_nodes=given["nodes"],
        nproc_per_node=given["processes_per_node"],
        run_id="misstep",
        rdzv_backend="static",
        rdzv_endpoint=f"{given['address']}:{given['port']}",
        rdzv_configs={"rank": given["node"], "timeout": given["timeout"]},
        max_restarts=0,  # whoever started the stage starts it again, and it goes on from its last checkpoint
        monitor_interval=0.5,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(given["report"]).parent / "torchelastic")),
        shutdown_timeout=5,
    )
    elastic_launch(config, command[0])(*command[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
