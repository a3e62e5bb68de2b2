"""The states of a stage, as the runner, the operator and the command line name them."""

from __future__ import annotations

from enum import StrEnum


class StageState(StrEnum):
    """What is known of a stage."""

    WAITING = "waiting"
    """An input is missing, or the cluster refuses its Job."""
    READY = "ready"
    """All inputs are there, and nothing has started yet."""
    COMPUTED_ELSEWHERE = "computed-elsewhere"
    """Another Experiment computes the same stage, and its result will be used."""
    RUNNING = "running"
    TERMINATING = "terminating"
    """Its Job is being deleted, and its pods may still run."""
    DONE = "done"
    FAILED = "failed"
    """It does not run again before the Experiment is edited or a retry is requested."""
    UNKNOWN = "unknown"
    """It was written by another version, or edited by hand."""

    @classmethod
    def parse(cls, value: object) -> StageState:
        """Return the state that a value names, UNKNOWN where it names none."""
        return cls(value) if isinstance(value, str) and value in tuple(cls) else cls.UNKNOWN
