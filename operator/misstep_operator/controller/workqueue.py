"""Which Experiment a worker reconciles next. Pure: no clock, no I/O.

Namespaces take turns, and none takes the workers that others need. The share of a namespace follows the rule by which
network switches share a buffer among ports (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
packet switches", 1998): it may take another worker while it has fewer workers than are free. A single namespace has
half of the workers, the next one half of the rest, and so on: a namespace with slow stores does not delay the others.
"""

from __future__ import annotations

from collections import Counter, deque

Item = tuple[str, str]
"""Namespace and name of an Experiment."""


class FairQueue:
    """Experiments that wait to be reconciled, and those that are being reconciled.

    An Experiment that is added again while it waits is there once. One that is added while it is reconciled waits for
    the end of that: it never has two workers.

    Args:
        workers: number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waiting: dict[str, deque[Item]] = {}
        """By namespace, in the order of turns."""
        self._since: dict[Item, float] = {}
        """When each began to wait, also those that wait for their own reconcile to end."""
        self._started: dict[Item, float] = {}
        self._busy: Counter[str] = Counter()

    def add(self, item: Item, now: float) -> None:
        """Add an Experiment."""
        if item not in self._since:
            self._since[item] = now
            if item not in self._started:
                self._waiting.setdefault(item[0], deque()).append(item)

    def take(self, now: float) -> Item | None:
        """Return the next Experiment to reconcile. None where none waits, or its namespace may not have a worker."""
        free = self._workers - len(self._started)
        for namespace, items in self._waiting.items():
            if self._busy[namespace] < free:
                item = items.popleft()
                del self._waiting[namespace]
                if items:
                    self._waiting[namespace] = items  # its next turn is after those of the others
                del self._since[item]
                self._started[item] = now
                self._busy[namespace] += 1
                return item
        return None

    def end(self, item: Item, now: float) -> None:
        """Note that a worker has reconciled an Experiment."""
        del self._started[item]
        self._busy[item[0]] -= 1
        if not self._busy[item[0]]:
            del self._busy[item[0]]
        if item in self._since:  # added in the meantime
            self._since[item] = now
            self._waiting.setdefault(item[0], deque()).append(item)

    def __len__(self) -> int:
        """Return the number of Experiments that wait for a worker."""
        return sum(map(len, self._waiting.values()))

    def oldest_waiting(self, now: float) -> float:
        """Return the longest time that an Experiment has waited, in seconds. 0 where none waits."""
        return max((now - self._since[items[0]] for items in self._waiting.values()), default=0.0)

    def oldest_working(self, now: float) -> float:
        """Return the age of the oldest reconcile, in seconds. 0 where there is none."""
        return max((now - started for started in self._started.values()), default=0.0)
