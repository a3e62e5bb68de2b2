"""What the operator reads of stores, with its own identity. It never writes there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from misstep.artifacts.progress import Heartbeat
from misstep.artifacts.store import UnreachableError, open_store
from misstep.errors import MisstepError
from misstep.plan.frozen import Storage
from misstep.plan.overtrained import Known, measured, policies, stage_warning
from misstep.plan.planner import Plan
from misstep.runner.watch import StoreWatch
from misstep_operator.observed import StoreView

_FRESH_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0
_CONNECTIONS, _REPORTS, _POLICIES = 256, 1024, 4096
"""How many stores, reports and policies are remembered: those looked at last."""
_SPARED = 3.0
"""A server that does not answer is left alone for so many times as long as it took to find that out, ..."""
_SPARED_SECONDS = 60.0
"""... and for so long at most: servers that are down take a quarter of a worker each, whatever number uses them."""
_HEARTBEATS_AT_ONCE = 8


@dataclass(frozen=True)
class _Known:
    """What was found of a plan's stages."""

    asked: float
    """When all of them were asked for."""
    committed: frozenset[str]


class Stores:
    """Reads many stores; keeps connections, and for some minutes what is committed, which hardly ever goes away.

    Methods block: call them in threads. A server that is down is asked by one thread at a time; the others are told
    what it was like.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock, self._now = clock, now
        self._watch = lru_cache(_CONNECTIONS)(_open)
        self._reported = lru_cache(_REPORTS)(self._read_report)
        self._measured = lru_cache(_POLICIES)(self._read_policy)
        self._known: dict[tuple[Storage, str], _Known] = {}
        """By a plan's store and its report's key, in the order in which they were asked."""
        self._down: dict[tuple[str | None, str | None], tuple[str, float]] = {}
        """Endpoint and region -> what is wrong with the server, and until when nobody need ask again."""
        self._lock = threading.Lock()

    def look(self, plan: Plan, running: Collection[str]) -> StoreView:
        """Describe a plan's store.

        Args:
            running: keys of stages that have live Jobs, whose heartbeats are wanted.
        """
        storage = plan.storage
        error = self._known_error(storage)
        if error:
            return StoreView(error=error)
        begun = self._clock()
        try:
            watch = self._watch(storage)
            committed = self._committed(watch, plan, running)
            accuracies = self._reported(storage, plan.report.key) if plan.report.key in committed else {}
            warnings = self._warnings(plan, committed)
        except MisstepError as raised:
            if isinstance(raised, UnreachableError):
                self._note(storage, str(raised), self._clock() - begun)
            return StoreView(error=str(raised))
        self._note(storage)
        working = [key for key in running if key not in committed]
        return StoreView(committed, self._heartbeats(watch, working) if working else {}, accuracies, warnings)

    def _heartbeats(self, watch: StoreWatch, keys: list[str]) -> dict[str, list[Heartbeat]]:
        """Return those that are recent."""
        since = self._now() - _FRESH_SECONDS
        with ThreadPoolExecutor(_HEARTBEATS_AT_ONCE) as pool:
            beats = zip(keys, pool.map(watch.heartbeats, keys), strict=True)
            fresh = {key: [beat for beat in found if beat.updated > since] for key, found in beats}
        return {key: found for key, found in fresh.items() if found}

    def _committed(self, watch: StoreWatch, plan: Plan, running: Collection[str]) -> frozenset[str]:
        """Return the keys that are committed; a request each, of which there may be hundreds.

        All are asked for now and then, since others use the store too. In between only those are that may have come to
        be: of stages that run, or whose inputs are committed.
        """
        name, now = (plan.storage, plan.report.key), self._clock()
        with self._lock:
            while self._known and self._known[first := next(iter(self._known))].asked <= now - _REMEMBER_SECONDS:
                del self._known[first]
            known = self._known.get(name)
        if known is None:
            known = _Known(now, watch.committed_among([stage.key for stage in plan.stages]))
        else:
            committed, absent = set(known.committed), set[str]()
            while asked := [
                stage.key
                for stage in plan.stages
                if stage.key not in committed
                and stage.key not in absent
                and (stage.key in running or committed.issuperset(stage.needs))
            ]:
                found = watch.committed_among(asked)
                committed |= found
                absent |= set(asked) - found
            known = _Known(known.asked, frozenset(committed))
        with self._lock:
            self._known[name] = known
        return known.committed

    def _known_error(self, storage: Storage) -> str:
        """Return why it is too early to ask a server again; whoever gets nothing is the one to ask."""
        server, now = (storage.endpoint, storage.region), self._clock()
        with self._lock:
            error, until = self._down.get(server, ("", 0.0))
            if not error or now < until:
                return error
            self._down[server] = error, now + _SPARED_SECONDS
            return ""

    def _note(self, storage: Storage, error: str = "", seconds: float = 0.0) -> None:
        """Remember that a server does not answer, which took so long to find out; or that it does."""
        server = storage.endpoint, storage.region
        with self._lock:
            self._down.pop(server, None)
            if error:
                self._down[server] = error, self._clock() + min(_SPARED * seconds, _SPARED_SECONDS)
            if len(self._down) > _CONNECTIONS:
                del self._down[next(iter(self._down))]

    def _warnings(self, plan: Plan, committed: Collection[str]) -> dict[str, str]:
        """Return what committed policies warn of; their manifests never change: each is read once."""
        storage = plan.report.storage
        found = {
            key: stage_warning(plan.by_key[key], self._measured(storage, key))
            for key in policies(plan.stages)
            if key in committed
        }
        return {key: text for key, text in found.items() if text}

    def _read_policy(self, storage: Storage, key: str) -> Known | None:
        return measured(self._watch(storage).summary(key))

    def _read_report(self, storage: Storage, key: str) -> Mapping[tuple[str, str], float]:
        """Return what stands in a report's manifest, which never changes: it is read once."""
        cells = self._watch(storage).summary(key).get("cells", ())
        whole = [cell for cell in cells if {"arm", "size", "accuracy"} <= cell.keys()]  # else another version
        return {(cell["arm"], cell["size"]): cell["accuracy"] for cell in whole}


def _open(storage: Storage) -> StoreWatch:
    return StoreWatch(open_store(storage, patient=False))
