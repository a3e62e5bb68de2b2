"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from misstep.runner.failure import Failure


class Result(StrEnum):
    """How a run ended, in a word."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """What a run brought."""

    result: Result
    failures: tuple[Failure, ...] = ()
    blocked: tuple[str, ...] = ()
    """Stages that could not start because of the failures."""
    left: int = 0
    """Stages still without a result."""
    signal: int | None = None
