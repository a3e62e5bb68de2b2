"""The state of a run that displays show: which shards run, how far they are, how many stages are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from misstep.artifacts.progress import Heartbeat
from misstep.runner.events import Event
from misstep.runner.schedule import Task


@dataclass
class RunningShard:
    """One shard's process, from the request for it to its end."""

    task: Task
    since: float
    started: bool = False
    heartbeat: Heartbeat | None = None

    @property
    def fraction(self) -> float | None:
        return self.heartbeat.fraction if self.heartbeat else None


class RunState:
    """Listener that keeps the state of a run up to date, from its events and from the heartbeats in the store.

    Args:
        keys: stage name -> key.
        heartbeats: reads the heartbeats of one key.
        every: seconds between two reads of the heartbeats.
        now: seconds since the epoch; heartbeats of an earlier run are older than this run.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        heartbeats: Callable[[str], list[Heartbeat]],
        every: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._heartbeats = heartbeats
        self._every = every
        self._began = now()
        self._next_read = 0.0
        self.at = 0.0
        self.total = len(keys)
        self.done = 0
        self.failed = 0
        self.running: dict[Task, RunningShard] = {}
        self.elsewhere: set[Task] = set()

    def on_event(self, event: Event) -> None:
        self.at = max(self.at, event.at)
        if event.what == "run-started":
            self.done = len(event.detail["committed"])
        if event.stage is None:
            return
        task = Task(event.stage, event.shard or 0)
        match event.what:
            case "shard-waiting":
                self.elsewhere.add(task)
            case "shard-asked":
                self.elsewhere.discard(task)
                self.running[task] = RunningShard(task, event.at)
            case "shard-started":
                self.running[task].since, self.running[task].started = event.at, True
            case "shard-ended":
                self.running.pop(task, None)
            case "stage-committed":
                self.done += 1
                self.elsewhere = {other for other in self.elsewhere if other.stage != task.stage}
            case "stage-failed":
                self.failed += 1

    def on_tick(self, at: float) -> None:
        self.at = at
        if at < self._next_read:
            return
        self._next_read = at + self._every
        for name in {task.stage for task in self.running}:
            for heartbeat in self._heartbeats(self._keys[name]):
                row = self.running.get(Task(name, heartbeat.shard))
                if row is not None and heartbeat.updated >= self._began + row.since - 1:
                    row.heartbeat = heartbeat

    def close(self) -> None:
        self.running.clear()
