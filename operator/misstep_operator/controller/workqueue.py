"""Who gets a pass next: namespaces take turns, and none takes the workers that others need. Pure: no clock, no I/O.

The share of a namespace follows the rule by which switches share one buffer among many ports (Choudhury and Hahne,
"Dynamic queue length thresholds for shared-memory packet switches", 1998): it may take one more worker while it has
fewer at work than are free. Alone it has half of them; whoever comes then finds the other half, and so on, so that a
namespace of slow stores never holds up the first pass of another.
"""

from __future__ import annotations

from collections import Counter, deque

Item = tuple[str, str]
"""Namespace and name of an Experiment."""


class FairQueue:
    """What waits for a pass and what has one.

    An Experiment that is asked for again while it waits is there once. One that is asked for during its pass waits for
    the end of that: it never has two workers.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waiting: dict[str, deque[Item]] = {}
        """By namespace, in the order of turns."""
        self._since: dict[Item, float] = {}
        """Since when each waits; also those that wait for the end of their own pass."""
        self._begun: dict[Item, float] = {}
        self._busy: Counter[str] = Counter()

    def add(self, item: Item, now: float) -> None:
        """Ask for a pass."""
        if item not in self._since:
            self._since[item] = now
            if item not in self._begun:
                self._waiting.setdefault(item[0], deque()).append(item)

    def take(self, now: float) -> Item | None:
        """Begin the next pass; None where nobody may begin one."""
        free = self._workers - len(self._begun)
        for namespace, items in self._waiting.items():
            if self._busy[namespace] < free:
                item = items.popleft()
                del self._waiting[namespace]
                if items:
                    self._waiting[namespace] = items  # its next turn comes after those of the others
                del self._since[item]
                self._begun[item] = now
                self._busy[namespace] += 1
                return item
        return None

    def end(self, item: Item, now: float) -> None:
        """End a pass."""
        del self._begun[item]
        self._busy[item[0]] -= 1
        if not self._busy[item[0]]:
            del self._busy[item[0]]
        if item in self._since:  # asked for meanwhile
            self._since[item] = now
            self._waiting.setdefault(item[0], deque()).append(item)

    def __len__(self) -> int:
        """Return how many wait for a worker."""
        return sum(map(len, self._waiting.values()))

    def oldest_waiting(self, now: float) -> float:
        """Return for how many seconds the one has waited that waits longest; 0 where none does."""
        return max((now - self._since[items[0]] for items in self._waiting.values()), default=0.0)

    def oldest_working(self, now: float) -> float:
        """Return for how many seconds the oldest pass has been at work; 0 where none is."""
        return max((now - begun for begun in self._begun.values()), default=0.0)
