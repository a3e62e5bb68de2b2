"""One run of a plan on this machine: how it is to go, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from misstep.runner.launch import ENTRY
from misstep.runner.schedule import Capacity


@dataclass(frozen=True)
class Settings:
    """How a run is to go."""

    capacity: Capacity
    retries: int = 1
    """How often a shard that failed is started again."""
    keep_going: bool = False
    """After a failure, go on with every stage that does not need the failed one."""
    isolate: bool = False
    """Start each stage as a fresh process, without the fork server."""
    grace_seconds: float = 10.0
    """Between SIGTERM and SIGKILL when a run is stopped."""
    poll_seconds: float = 0.5
    """The longest wait for reports of processes, and the time between two looks at stages of other runs."""
    entry: str = ENTRY
    """The function that a stage's process calls, as ``module:function``."""


@dataclass(frozen=True)
class Failure:
    """A shard that failed in all its attempts, and what a person needs to find out why."""

    stage: str
    shard: int
    code: int
    """Exit code, or minus the signal that killed it."""
    error: str
    log: str
    """Path of its log."""
    rerun: str
    """The command that runs this shard alone."""


class Result(StrEnum):
    """How a run ended, in a word."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, with what failed and what is left."""

    result: Result
    failures: tuple[Failure, ...] = ()
    blocked: tuple[str, ...] = ()
    """Stages that could not start because of the failures."""
    left: int = 0
    """How many stages still have no result."""
    signal: int | None = None
    """The signal that stopped the run."""
