"""What a run tells: to its display, to ``run.json`` and, with ``--json``, to standard output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

What = Literal[
    "run-started",
    "preloaded",
    "isolated",
    "shard-waiting",
    "shard-asked",
    "shard-started",
    "shard-ended",
    "shard-retried",
    "shard-progress",
    "stage-committed",
    "stage-failed",
    "store-silent",
    "stopping",
    "run-ended",
]


@dataclass(frozen=True)
class Event:
    """Something that happened, to the run or to one shard of a stage."""

    what: What
    at: float
    """Seconds since the run began."""
    stage: str | None = None
    shard: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON-like data; detail stands beside the other fields, and what does not apply is left out."""
        head = {"what": self.what, "at": round(self.at, 3), "stage": self.stage, "shard": self.shard}
        return {name: value for name, value in (head | dict(self.detail)).items() if value is not None}


class Listener(Protocol):
    """Someone who is told."""

    def tell(self, event: Event) -> None: ...
    def tick(self, at: float) -> None:
        """Called a few times a second while stages run."""

    def close(self) -> None: ...
