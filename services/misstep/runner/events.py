"""What a run tells: to its display, to ``run.json`` and, with ``--json``, to standard output."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from misstep.runner.schedule import Task

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

    def on_event(self, event: Event) -> None: ...
    def on_tick(self, at: float) -> None:
        """Called a few times a second while stages run."""

    def close(self) -> None: ...


class EventPublisher:
    """Tells all listeners, with the time since the run began."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._began = time.monotonic()

    def publish(self, what: What, task: Task | None = None, *, at: float | None = None, **detail: Any) -> None:
        """Tell an event; ``at`` is a ``time.monotonic()``, now where it is left out."""
        moment = (time.monotonic() if at is None else at) - self._began
        stage, shard = task or (None, None)
        event = Event(what, moment, stage, shard, detail)
        for listener in self._listeners:
            listener.on_event(event)

    def tick(self) -> None:
        for listener in self._listeners:
            listener.on_tick(time.monotonic() - self._began)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
