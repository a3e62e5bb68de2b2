"""A training over two nodes that loses one at a given moment, and the time until the next step.

Moments are known by what the training itself writes into its scratch folders: its ranks' signs of life, a checkpoint
on its way, the model that is exported. That holds for processes of a runner, for pods that are processes, and for
containers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MEETING, TRAINING, SAVING, EXPORTING = MOMENTS = ("meeting", "training", "saving", "exporting")
RESTART_SECONDS, BEGIN_SECONDS = 60.0, 25.0
"""From the loss to the first step of all ranks, where processes start quickly; and until all nodes have restarted."""


@dataclass(frozen=True)
class Member:
    """One node of a training in one attempt.

    Args:
        process: its stage's, whose end takes the node's ranks with it.
        scratch: the folder that contains its stage's folder, perhaps with others.
    """

    index: int
    process: psutil.Process
    scratch: Path

    def phase(self, since: float = 0.0) -> str:
        """What its rank last said that it does; empty where it has said nothing since a time."""
        for path in self._files(f"ranks/{self.index}.alive"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime > since:
                    return path.read_text()
        return ""

    def saves(self) -> bool:
        return self.phase() == "writing" and any(self._files("work/training/trainer/checkpoint-*"))

    def exports(self) -> bool:
        return self.phase() == "writing" and any(self._files("work/training/model"))

    def _files(self, pattern: str) -> Iterator[Path]:
        return self.scratch.glob(f"*-{self.index}-*/{pattern}")


@dataclass(frozen=True)
class Restart:
    """Seconds after a loss: until all nodes have restarted, and until all their ranks have started a step."""

    begun: float
    stepped: float

    def __str__(self) -> str:
        return f"restarted after {self.begun:.1f} s, the next step after {self.stepped:.1f} s"

    def check(self) -> None:
        """Fail where it took too long. How long loading torch takes is up to what else the machine does meanwhile."""
        assert self.begun < BEGIN_SECONDS


Find = Callable[[], Sequence[Member]]
"""Return the members of one attempt that have begun."""


def both(find: Find, seconds: float = 180) -> list[Member]:
    """Wait until both nodes of an attempt have begun; the first node first."""
    end = time.monotonic() + seconds
    while len(found := find()) < 2:
        assert time.monotonic() < end, f"only {len(found)} of 2 nodes have begun"
        time.sleep(0.02)
    return sorted(found, key=lambda member: member.index)


def lose_one(find: Find, moment: str, victim: int) -> float:
    """Kill one of two nodes at a moment; return when that was, in seconds since the epoch."""
    members = both(find)
    lost = members[victim]
    reached: Callable[[], bool] = {
        MEETING: lambda: lost.phase() == "starting",
        TRAINING: lambda: lost.phase() == "training",
        SAVING: lost.saves,
        EXPORTING: members[0].exports,
    }[moment]
    end = time.monotonic() + 300
    while not reached():
        assert lost.process.is_running(), f"node {victim} has ended before it was {moment}"
        assert time.monotonic() < end, f"never {moment}: {[member.phase() for member in members]}"
        time.sleep(0.001)
    lost.process.kill()
    return time.time()


def next_step(find: Find, lost: float) -> Restart:
    """Wait until every rank of the next attempt has been seen to train, or to write where no step is left."""
    members = both(find)
    # The runner's attempts have one scratch folder after another: what is older there is the last one's.
    began = time.time()
    end = time.monotonic() + 300
    missing = {member.index: member for member in members}
    while missing:
        for member in [*missing.values()]:
            # A resumed export is short: one rank may have ended, and its files with it, before the other one begins.
            if member.phase(began) in ("training", "writing"):
                del missing[member.index]
        assert time.monotonic() < end, f"no step of nodes {[*missing]} after the loss"
        time.sleep(0.005)
    return Restart(began - lost, time.time() - lost)
