"""What the operator reads of stores, with its own identity. It never writes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from misstep.artifacts.store import open_store
from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage, Storage
from misstep.plan.planner import Plan
from misstep.runner.watch import StoreWatch
from misstep_operator.observed import StoreView

_FRESH_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0


class Stores:
    """Reads many stores; keeps connections, and for some minutes what is committed, which hardly ever goes away.

    Methods block: call them in threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock, self._now = clock, now
        self._watches: dict[Storage, StoreWatch] = {}
        self._committed: dict[tuple[Storage, str], float] = {}
        self._accuracies: dict[tuple[Storage, str], Mapping[tuple[str, str], float]] = {}

    def look(self, plan: Plan, running: Sequence[str]) -> StoreView:
        """Describe a plan's store.

        Args:
            running: keys of stages that have live Jobs, whose heartbeats are wanted.
        """
        storage = plan.report.storage
        try:
            watch = self._watches.get(storage)
            if watch is None:
                watch = self._watches[storage] = StoreWatch(open_store(storage, patient=False))
            committed = self._committed_among(watch, storage, [stage.key for stage in plan.stages])
            accuracies = self._reported(watch, plan.report) if plan.report.key in committed else {}
        except MisstepError as error:
            return StoreView(error=str(error))
        beats = {key: watch.heartbeats(key) for key in running if key not in committed}
        since = self._now() - _FRESH_SECONDS
        fresh = {key: [beat for beat in found if beat.updated > since] for key, found in beats.items()}
        return StoreView(committed, {key: found for key, found in fresh.items() if found}, accuracies)

    def _reported(self, watch: StoreWatch, report: FrozenStage) -> Mapping[tuple[str, str], float]:
        """Return what stands in a report's manifest, which never changes: it is read once."""
        known = self._accuracies.get((report.storage, report.key))
        if known is None:
            cells = watch.summary(report.key).get("cells", ())
            whole = [cell for cell in cells if {"arm", "size", "accuracy"} <= cell.keys()]  # else another version
            known = {(cell["arm"], cell["size"]): cell["accuracy"] for cell in whole}
            self._accuracies[report.storage, report.key] = known
        return known

    def _committed_among(self, watch: StoreWatch, storage: Storage, keys: list[str]) -> frozenset[str]:
        until = self._clock()
        known = {key for key in keys if self._committed.get((storage, key), 0.0) > until}
        found = watch.committed_among([key for key in keys if key not in known])
        for key in found:
            self._committed[storage, key] = until + _REMEMBER_SECONDS
        return frozenset(known | found)
