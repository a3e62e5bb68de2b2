"""How a run stands: what the displays show. Fed by events and heartbeats; draws nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from misstep.artifacts.progress import Heartbeat
from misstep.printable import printable
from misstep.runner.events import Event
from misstep.runner.schedule import Task

_FIGURES = 4
_ENDLESS_SECONDS = 10 * 365 * 86400.0
"""Nobody is told of more: a heartbeat with a rate of next to nothing."""


@dataclass
class Running:
    """One process, from its request on."""

    task: Task
    since: float
    started: bool = False
    heartbeat: Heartbeat | None = None

    @property
    def fraction(self) -> float | None:
        return self.heartbeat.fraction if self.heartbeat else None


class Board:
    """Listener that knows who runs, how far each is, and how much is done.

    Args:
        keys: stage name -> key.
        heartbeats: reads the heartbeats of one key.
        every: seconds between two looks at the heartbeats.
        now: seconds since the epoch, to tell this run's heartbeats from an earlier one's.
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
        self._next_look = 0.0
        self.at = 0.0
        self.total = len(keys)
        self.done = 0
        self.failed = 0
        self.running: dict[Task, Running] = {}
        self.elsewhere: set[Task] = set()

    def tell(self, event: Event) -> None:
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
                self.running[task] = Running(task, event.at)
            case "shard-started":
                self.running[task].since, self.running[task].started = event.at, True
            case "shard-ended":
                self.running.pop(task, None)
            case "stage-committed":
                self.done += 1
                self.elsewhere = {other for other in self.elsewhere if other.stage != task.stage}
            case "stage-failed":
                self.failed += 1

    def tick(self, at: float) -> None:
        self.at = at
        if at < self._next_look:
            return
        self._next_look = at + self._every
        for name in {task.stage for task in self.running}:
            for heartbeat in self._heartbeats(self._keys[name]):
                row = self.running.get(Task(name, heartbeat.shard))
                if row is not None and heartbeat.updated >= self._began + row.since - 1:
                    row.heartbeat = heartbeat

    def close(self) -> None:
        self.running.clear()


def describe(heartbeat: Heartbeat | None) -> str:
    """``1,200/4,000 samples, 85/s, 33 s left``; for several blocks the share of all of them stands first. Rows that a
    training dropped and what a stage warns of stand last."""
    if heartbeat is None:
        return ""
    parts = [f"{heartbeat.done:,}/{heartbeat.total:,} {heartbeat.unit}"]
    if heartbeat.blocks > 1:
        parts.insert(0, f"{heartbeat.fraction:.0%}")
    if heartbeat.rate:
        parts.append(f"{heartbeat.rate:,.0f}/s" if heartbeat.rate >= 10 else f"{heartbeat.rate:.2g}/s")
    left = seconds_left(heartbeat)
    if left is not None:
        parts.append(f"{duration(left)} left")
    dropped = heartbeat.detail.get("dropped")
    if isinstance(dropped, int | float) and dropped:
        parts.append(f"{dropped:,.0f} rows dropped")
    warning = heartbeat.detail.get("warning")
    if isinstance(warning, str) and warning:
        parts.append(warning)
    return printable(", ".join(parts))


def seconds_left(heartbeat: Heartbeat) -> float | None:
    """Time that the rest of the current block takes at its rate, and the shard's other blocks at the same pace."""
    if not heartbeat.rate or heartbeat.rate < 0 or heartbeat.done > heartbeat.total:
        return None
    others = max(heartbeat.blocks - heartbeat.blocks_done - 1, 0)
    left = (heartbeat.total - heartbeat.done + others * heartbeat.total) / heartbeat.rate
    return left if left < _ENDLESS_SECONDS else None


def duration(seconds: float) -> str:
    """``8.2 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def figures(summary: Mapping[str, Any]) -> str:
    """The first few plain counts and figures of a manifest's summary, as ``problems 2,000, dropped 3``; and the share
    of prompt tokens that an engine found in its prefix cache."""
    shown = []
    for name, value in summary.items():
        plain = isinstance(value, int | float | str) and not isinstance(value, bool) and len(str(value)) <= 24
        if not plain or "prefill" in name:
            continue
        text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value
        shown.append(f"{name.replace('_', ' ')} {text}")
    cached = summary.get("cached_prefill_tokens")
    share = [f"{cached / summary['prefill_tokens']:.0%} of prompts cached"] if cached else []
    return printable(", ".join(shown[:_FIGURES] + share))
