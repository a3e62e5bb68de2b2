"""A training stage of several processes, as one node sees it: start this node's ranks, watch them, say what failed.

The process itself stays thin: it loads no torch and holds no GPU. Ranks that are dead end the others of their node at
once (torchrun) and those of other nodes as their connections break; ranks that hang are ended after a stated time.
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
"""No rank may be silent for longer between two micro-steps. ``MISSTEP_STEP_TIMEOUT`` replaces it."""
START_SECONDS = 1800.0
"""For nodes to meet, libraries and weights to be loaded, a model to be written. ``MISSTEP_START_TIMEOUT`` replaces it.
"""
PEER_SECONDS = 30.0
"""No node may be silent for longer, once it was heard. ``MISSTEP_PEER_TIMEOUT`` replaces it."""
_POLL_SECONDS = 0.5
_ECHO_SECONDS = 3.0
"""How long a node keeps a failure to itself that may be but the echo of another node's: one that has refused its input
is to be the first to end, for then nothing is tried again."""
_PORTS_TRIED = 3


@dataclass(frozen=True)
class RankError:
    """The last words of a rank."""

    rank: int
    code: int
    text: str
    at: float


def run_ranks(stage: FrozenStage, node: int, folder: Path, checkpoints: StoredCheckpoints) -> None:
    """Run this node's ranks of a stage until the last one has ended; the first of all writes the artifact.

    Args:
        node: which node this is; node 0 is the one that the others meet at.
        folder: a scratch folder that the node's ranks share.

    Raises:
        BadInput: a rank found an input to be wrong, or the environment names no meeting point for several nodes.
        MisstepError: a rank died, hung, or ran out of memory: a restart goes on from the last complete checkpoint.
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
        """Run them; tell whether they met, which they cannot where the port is taken."""
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
                f"while {phase}; all ranks of the node were ended. Where steps take so long, raise {name} (seconds)."
            )

    def _end_what_waits(self) -> None:
        """End ranks that wait for a node which is gone: where a machine goes, it closes no connection."""
        try:
            silent = json.loads(self._peers.read_text())
            alone = time.time() - self._peers.stat().st_mtime > self._silence
        except FileNotFoundError:  # they have not met yet
            return
        if silent or alone:
            who = f"node {silent[0]} of {self._stage.resources.nodes}" if silent else "the node that all meet at"
            raise MisstepError(
                f"{who} has given no sign of life for {self._silence:.0f} s; all ranks of this node were ended. Where "
                "nodes are that busy, raise MISSTEP_PEER_TIMEOUT (seconds)."
            )

    def _error(self, code: int, killed_for_memory: bool) -> MisstepError:
        """Say what went wrong first: what a rank said of its input counts most, then the earliest failure."""
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
            f"rank {rank} was killed for want of memory with micro-batches of {rows} rows of up to "
            f"{optimiser.max_length} tokens; the next attempt takes smaller ones. Give the stage more memory "
            "(spec.resources), or lower microBatchSize or maxLength (spec.training)."
        )

    def _failures(self) -> dict[int, int]:
        """Exit codes (minus a signal) of ranks that torchrun saw fail."""
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
    """A rank's BadInput, its text as that rank wrote it."""

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
    """Count the processes that the kernel has killed for want of memory: in this control group, else on the machine."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        try:
            counts = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0
