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


class Stores:
    """Reads many stores; keeps connections, and for some minutes what is committed, which hardly ever goes away.

    Methods block: call them in threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock, self._now = clock, now
        self._watch = lru_cache(_CONNECTIONS)(_open)
        self._reported = lru_cache(_REPORTS)(self._read_report)
        self._committed: dict[tuple[Storage, str], float] = {}
        """Until when it is remembered, about in that order."""
        self._forgetting = threading.Lock()

    def look(self, plan: Plan, running: Sequence[str]) -> StoreView:
        """Describe a plan's store.

        Args:
            running: keys of stages that have live Jobs, whose heartbeats are wanted.
        """
        storage = plan.report.storage
        try:
            watch = self._watch(storage)
            committed = self._committed_among(watch, storage, [stage.key for stage in plan.stages])
            accuracies = self._reported(storage, plan.report.key) if plan.report.key in committed else {}
        except MisstepError as error:
            return StoreView(error=str(error))
        beats = {key: watch.heartbeats(key) for key in running if key not in committed}
        since = self._now() - _FRESH_SECONDS
        fresh = {key: [beat for beat in found if beat.updated > since] for key, found in beats.items()}
        return StoreView(committed, {key: found for key, found in fresh.items() if found}, accuracies)

    def _read_report(self, storage: Storage, key: str) -> Mapping[tuple[str, str], float]:
        """Return what stands in a report's manifest, which never changes: it is read once."""
        cells = self._watch(storage).summary(key).get("cells", ())
        whole = [cell for cell in cells if {"arm", "size", "accuracy"} <= cell.keys()]  # else another version
        return {(cell["arm"], cell["size"]): cell["accuracy"] for cell in whole}

    def _committed_among(self, watch: StoreWatch, storage: Storage, keys: list[str]) -> frozenset[str]:
        now = self._clock()
        with self._forgetting:
            while self._committed and self._committed[first := next(iter(self._committed))] <= now:
                del self._committed[first]
            known = {key for key in keys if self._committed.get((storage, key), 0.0) > now}
        found = watch.committed_among([key for key in keys if key not in known])
        with self._forgetting:
            self._committed.update({(storage, key): now + _REMEMBER_SECONDS for key in found})
        return frozenset(known | found)


def _open(storage: Storage) -> StoreWatch:
    return StoreWatch(open_store(storage, patient=False))
