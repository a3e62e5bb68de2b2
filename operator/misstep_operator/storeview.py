"""What the operator reads of stores, with its own identity. It never writes there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from misstep.artifacts.store import open_store
from misstep.errors import MisstepError
from misstep.plan.frozen import Storage
from misstep.plan.planner import Plan
from misstep.runner.watch import StoreWatch
from misstep_operator.observed import StoreView

_FRESH_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0
_CONNECTIONS, _REPORTS = 256, 1024
"""How many stores and reports are remembered: those looked at last."""
_SPARED = 3.0
"""A store that did not answer is left alone for so many times as long as it took to say so, ..."""
_SPARED_SECONDS = 60.0
"""... and for so long at most: stores that are down take a quarter of a worker each, whatever number uses them."""


class Stores:
    """Reads many stores; keeps connections, and for some minutes what is committed, which hardly ever goes away.

    Methods block: call them in threads. A store that is down is asked by one thread at a time: the others are told what
    the last one was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock, self._now = clock, now
        self._watch = lru_cache(_CONNECTIONS)(_open)
        self._reported = lru_cache(_REPORTS)(self._read_report)
        self._committed: dict[tuple[Storage, str], float] = {}
        """Until when it is remembered, about in that order."""
        self._down: dict[Storage, tuple[str, float]] = {}
        """What is wrong with it, and until when nobody need ask again."""
        self._lock = threading.Lock()

    def look(self, plan: Plan, running: Sequence[str]) -> StoreView:
        """Describe a plan's store.

        Args:
            running: keys of stages that have live Jobs, whose heartbeats are wanted.
        """
        storage = plan.report.storage
        error = self._known_error(storage)
        if error:
            return StoreView(error=error)
        begun = self._clock()
        try:
            watch = self._watch(storage)
            committed = self._committed_among(watch, storage, [stage.key for stage in plan.stages])
            accuracies = self._reported(storage, plan.report.key) if plan.report.key in committed else {}
        except MisstepError as raised:
            self._note(storage, str(raised), self._clock() - begun)
            return StoreView(error=str(raised))
        self._note(storage)
        beats = {key: watch.heartbeats(key) for key in running if key not in committed}
        since = self._now() - _FRESH_SECONDS
        fresh = {key: [beat for beat in found if beat.updated > since] for key, found in beats.items()}
        return StoreView(committed, {key: found for key, found in fresh.items() if found}, accuracies)

    def _known_error(self, storage: Storage) -> str:
        """Return what a store said that it is too early to ask again; whoever gets nothing is the one to ask."""
        with self._lock:
            error, until = self._down.get(storage, ("", 0.0))
            now = self._clock()
            if not error or now < until:
                return error
            self._down[storage] = error, now + _SPARED_SECONDS
            return ""

    def _note(self, storage: Storage, error: str = "", seconds: float = 0.0) -> None:
        with self._lock:
            self._down.pop(storage, None)
            if error:
                self._down[storage] = error, self._clock() + min(_SPARED * seconds, _SPARED_SECONDS)
            if len(self._down) > _CONNECTIONS:
                del self._down[next(iter(self._down))]

    def _read_report(self, storage: Storage, key: str) -> Mapping[tuple[str, str], float]:
        """Return what stands in a report's manifest, which never changes: it is read once."""
        cells = self._watch(storage).summary(key).get("cells", ())
        whole = [cell for cell in cells if {"arm", "size", "accuracy"} <= cell.keys()]  # else another version
        return {(cell["arm"], cell["size"]): cell["accuracy"] for cell in whole}

    def _committed_among(self, watch: StoreWatch, storage: Storage, keys: list[str]) -> frozenset[str]:
        now = self._clock()
        with self._lock:
            while self._committed and self._committed[first := next(iter(self._committed))] <= now:
                del self._committed[first]
            known = {key for key in keys if self._committed.get((storage, key), 0.0) > now}
        found = watch.committed_among([key for key in keys if key not in known])
        with self._lock:
            self._committed.update({(storage, key): now + _REMEMBER_SECONDS for key in found})
        return frozenset(known | found)


def _open(storage: Storage) -> StoreWatch:
    return StoreWatch(open_store(storage, patient=False))
