"""One node's part of a training stage of several processes: start this node's ranks, watch them, report what failed.

The process itself stays small: it does not load torch or hold a GPU. When a rank dies, torchrun ends the others of its
node at once, and broken connections end those of other nodes. Ranks that hang are ended after a timeout.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from misstep.artifacts.checkpoints import StoredCheckpoints
from misstep.distributed import agent
from misstep.distributed.liveness import Phase, last_alive, seconds_from
from misstep.distributed.micro_batches import micro_batch_rows
from misstep.errors import EXIT_BAD_INPUT, BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.params import OptimiserParams
from misstep.processes import free_port

_log = structlog.get_logger(__name__)

STEP_SECONDS = 600.0
"""The longest time without a sign of life between two micro-steps. ``MISSTEP_STEP_TIMEOUT`` replaces it."""
START_SECONDS = 1800.0
"""The same for connecting the nodes, loading libraries and weights, and writing a model. ``MISSTEP_START_TIMEOUT``
replaces it.
"""
PEER_SECONDS = 30.0
"""The longest time without a sign of life from a node, after its first. ``MISSTEP_PEER_TIMEOUT`` replaces it."""
_POLL_SECONDS = 0.5
_ECHO_SECONDS = 3.0
"""How long a node delays a failure that may be only a consequence of another node's. A node that has refused its input
should be the first to end, because then nothing is retried."""
_PORTS_TRIED = 3


@dataclass(frozen=True)
class RankError:
    """The last error message of a rank."""

    rank: int
    code: int
    text: str
    at: float


def run_ranks(stage: FrozenStage, node: int, folder: Path, checkpoints: StoredCheckpoints) -> None:
    """Run this node's ranks of a stage until the last one has ended; the first rank of all writes the artifact.

    Args:
        node: the number of this node; the others connect to node 0.
        folder: a scratch folder that the node's ranks share.

    Raises:
        BadInput: a rank found a wrong input, or the environment does not name a rendezvous address for several nodes.
        MisstepError: a rank died, hung, or ran out of memory: a restart resumes from the last complete checkpoint.
    """
    address, port = _meeting_point(stage)
    for attempt in range(1, _PORTS_TRIED + 1):
        tried = port or free_port()
        if _Ranks(stage, node, folder, checkpoints).run(address, tried):
            return
        if port is not None or attempt == _PORTS_TRIED:
            raise MisstepError(
                f"MISSTEP_MASTER_PORT: {tried}. Another process of this machine listens there: set a free one"
                + ("." if stage.resources.nodes > 1 else ", or none.")
            )


class _Ranks:
    def __init__(self, stage: FrozenStage, node: int, folder: Path, checkpoints: StoredCheckpoints) -> None:
        self._stage, self._node, self._checkpoints = stage, node, checkpoints
        self._folder = folder
        self._signs = folder / "ranks"
        self._limits: dict[Phase, float] = {
            "training": seconds_from("MISSTEP_STEP_TIMEOUT", STEP_SECONDS),
            "starting": seconds_from("MISSTEP_START_TIMEOUT", START_SECONDS),
        }
        self._limits["writing"] = self._limits["starting"]
        self._peers = self._signs / "peers.json"
        self._silence = seconds_from("MISSTEP_PEER_TIMEOUT", PEER_SECONDS)

    def run(self, address: str, port: int) -> bool:
        """Run them; return whether they connected. They cannot if the port is taken."""
        shutil.rmtree(self._signs, ignore_errors=True)
        self._signs.mkdir(parents=True)
        kills_before = out_of_memory_kills()
        began = time.time()
        process = self._start(address, port)
        try:
            while process.poll() is None:
                self._end_what_hangs(began)
                self._end_what_waits()
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()  # its ranks die with it
            process.wait()
        if process.returncode == agent.EXIT_PORT_IN_USE:
            return False
        if process.returncode:
            error = self._error(process.returncode, out_of_memory_kills() > kills_before)
            if self._stage.resources.nodes > 1 and error.exit_code != EXIT_BAD_INPUT:
                time.sleep(_ECHO_SECONDS)
            raise error
        return True

    def _start(self, address: str, port: int) -> subprocess.Popen[bytes]:
        resources = self._stage.resources
        frozen = self._signs / "stage.json"
        frozen.write_text(self._stage.model_dump_json())
        given = {
            "command": [sys.executable, "-P", "-m", "misstep.stages.rank", str(frozen), str(self._folder)],
            "nodes": resources.nodes,
            "node": self._node,
            "processes_per_node": resources.processes_per_node,
            "address": address,
            "port": port,
            "timeout": int(self._limits["starting"]) or 1,
            "parent": os.getpid(),
            "report": str(self._signs / "failures.json"),
            "peers": str(self._peers),
            "silence": self._silence,
        }
        _log.info("starting ranks", processes=resources.processes, nodes=resources.nodes, address=f"{address}:{port}")
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-P", "-m", "misstep.distributed.agent", json.dumps(given)],
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OMP_NUM_THREADS": str(resources.threads),
            },
        )

    @property
    def _own_ranks(self) -> range:
        count = self._stage.resources.processes_per_node
        return range(self._node * count, (self._node + 1) * count)

    def _end_what_hangs(self, began: float) -> None:
        now = time.time()
        silent: list[tuple[float, int, Phase]] = []
        for rank in self._own_ranks:
            phase, at = last_alive(self._signs / f"{rank}.alive", began)
            if now - at > self._limits[phase]:
                silent.append((at, rank, phase))
        if silent:
            at, rank, phase = min(silent)
            name = "MISSTEP_STEP_TIMEOUT" if phase == "training" else "MISSTEP_START_TIMEOUT"
            raise MisstepError(
                f"rank {rank} of {self._stage.resources.processes} has given no sign of life for {now - at:.0f} s "
                f"while {phase}; all ranks of the node were ended. If steps take this long, raise {name} (seconds)."
            )

    def _end_what_waits(self) -> None:
        """End ranks that wait for a lost node: a machine that is lost does not close its connections."""
        try:
            silent = json.loads(self._peers.read_text())
            alone = time.time() - self._peers.stat().st_mtime > self._silence
        except FileNotFoundError:  # they have not connected yet
            return
        if silent or alone:
            who = (
                f"node {silent[0]} of {self._stage.resources.nodes}"
                if silent
                else "the node that all others connect to"
            )
            raise MisstepError(
                f"{who} has given no sign of life for {self._silence:.0f} s; all ranks of this node were ended. If "
                "nodes are that busy, raise MISSTEP_PEER_TIMEOUT (seconds)."
            )

    def _error(self, code: int, killed_for_memory: bool) -> MisstepError:
        """Return the error that came first: a refused input has priority, then the earliest failure."""
        said = sorted((e for rank in self._own_ranks if (e := self._last_words(rank))), key=lambda e: e.at)
        refused = [error for error in said if error.code == EXIT_BAD_INPUT]
        if refused:
            return _Refused(refused[0].text)
        failures = self._failures()
        killed = sorted(rank for rank, status in failures.items() if status < 0 and status != -signal.SIGTERM)
        if killed and killed_for_memory:
            return self._out_of_memory(killed[0])
        if killed:
            name = signal.Signals(-failures[killed[0]]).name
            return MisstepError(f"rank {killed[0]} of {self._stage.resources.processes} was killed by {name}")
        if said:
            return MisstepError(f"rank {said[0].rank} of {self._stage.resources.processes}: {said[0].text}")
        return MisstepError(f"torchrun ended with exit code {code} and no rank said why: see the log")

    def _out_of_memory(self, rank: int) -> MisstepError:
        params = self._stage.typed_params()
        optimiser = getattr(params, "optimiser", None)
        assert isinstance(optimiser, OptimiserParams)
        rows = micro_batch_rows(optimiser, self._stage.resources.processes, self._checkpoints.out_of_memory())
        self._checkpoints.note_out_of_memory(rows)
        return MisstepError(
            f"rank {rank} ran out of memory and was killed, with micro-batches of {rows} rows of up to "
            f"{optimiser.max_length} tokens; the next attempt takes smaller ones. Give the stage more memory "
            "(spec.resources), or lower microBatchSize or maxLength (spec.training)."
        )

    def _failures(self) -> dict[int, int]:
        """Exit codes (or minus the signal) of ranks that torchrun reported as failed."""
        try:
            found = json.loads((self._signs / "failures.json").read_text())
        except FileNotFoundError:
            return {}
        return {int(rank): int(code) for rank, code in found.items()}

    def _last_words(self, rank: int) -> RankError | None:
        try:
            found = json.loads((self._signs / f"{rank}.error").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return RankError(rank, int(found["code"]), str(found["text"]), float(found["at"]))


class _Refused(MisstepError):
    """A rank's BadInput, with the text that the rank wrote."""

    exit_code = EXIT_BAD_INPUT


def _meeting_point(stage: FrozenStage) -> tuple[str, int | None]:
    address, port = os.environ.get("MISSTEP_MASTER_ADDR"), os.environ.get("MISSTEP_MASTER_PORT")
    if stage.resources.nodes > 1 and not (address and port):
        raise BadInput(
            "MISSTEP_MASTER_ADDR" if not address else "MISSTEP_MASTER_PORT",
            "not set",
            f"Stage {stage.name} runs on {stage.resources.nodes} nodes: give all of them the address and port at which "
            "they meet (those of node 0).",
        )
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise BadInput("MISSTEP_MASTER_PORT", port, "Give a port: a number from 1 to 65535.")
    return address or "127.0.0.1", int(port) if port else None


def out_of_memory_kills() -> int:
    """Count the processes that the kernel's OOM killer has ended: in this control group, else on the machine."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        try:
            counts = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0
