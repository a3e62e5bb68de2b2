"""Events of a run, and who is told of them: the display, ``run.json`` and, with ``--json``, standard output."""

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
    """Something that happened to the run, or to one shard of a stage."""

    what: What
    at: float
    """Seconds since the run began."""
    stage: str | None = None
    shard: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-like data: ``detail`` beside the other fields, without those that are None."""
        head = {"what": self.what, "at": round(self.at, 3), "stage": self.stage, "shard": self.shard}
        return {name: value for name, value in (head | dict(self.detail)).items() if value is not None}


class Listener(Protocol):
    """Receives the events of a run."""

    def on_event(self, event: Event) -> None: ...
    def on_tick(self, at: float) -> None:
        """Called a few times a second while stages run, with the seconds since the run began."""

    def close(self) -> None: ...


class EventPublisher:
    """Publishes events to all listeners, with the time since the run began."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._began = time.monotonic()

    def publish(self, what: What, task: Task | None = None, *, at: float | None = None, **detail: Any) -> None:
        """Publish an event.

        Args:
            at: when it happened, by ``time.monotonic()``; now by default.
        """
        moment = (time.monotonic() if at is None else at) - self._began
        stage, shard = task or (None, None)
        event = Event(what, moment, stage, shard, detail)
        for listener in self._listeners:
            listener.on_event(event)

    def tick(self) -> None:
        """Tell the listeners what time it is."""
        for listener in self._listeners:
            listener.on_tick(time.monotonic() - self._began)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
