"""What the operator reads of stores, with its own identity. It never writes there.

It opens no store but those that ``trust.py`` lets it open, and bounds what it reads (``misstep.artifacts.bounded``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from misstep.artifacts.bounded import BoundedStore, Budget, LimitReached, Limits, open_bounded
from misstep.artifacts.progress import Heartbeat
from misstep.artifacts.store import UnreachableError
from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage, Storage
from misstep.plan.overtrained import Known, measured, policies, stage_warning
from misstep.plan.planner import Plan
from misstep.runner.watch import StoreWatch
from misstep_operator.observed import StoreView
from misstep_operator.settings import read_trust
from misstep_operator.stores.report import Accuracies, accuracies_of, points_of
from misstep_operator.stores.trust import Trust, Unlisted

_FRESH_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0
_CONNECTIONS, _REPORTS, _POLICIES = 256, 1024, 4096
"""How many stores, reports and policies are remembered: those looked at last."""
_SPARED = 3.0
"""A server that does not answer is left alone for so many times as long as it took to find that out, ..."""
_SPARED_SECONDS = 60.0
"""... and for so long at most: servers that are down take a quarter of a worker each, whatever number uses them."""
_HEARTBEATS_AT_ONCE = 8
T = TypeVar("T")


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

    Args:
        trust: which stores to open; by default what the environment says.
        limits: what one look may cost.
        clock: seconds, as they pass.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        trust: Trust | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._trust, self._limits = read_trust() if trust is None else trust, limits or Limits()
        self._clock, self._now = clock, now
        self._opened = lru_cache(_CONNECTIONS)(_open)
        self._remembered = lru_cache(_REPORTS)(_Once[Accuracies])
        self._measured = lru_cache(_POLICIES)(_Once[Known | None])
        self._known: dict[tuple[Storage, str], _Known] = {}
        """By a plan's store and its report's key, in the order in which they were asked."""
        self._down: dict[object, tuple[str, float]] = {}
        """A server, or a store that takes too long -> what is wrong, and until when nobody need ask again."""
        self._lock = threading.Lock()

    def look(self, plan: Plan, running: Collection[str], namespace: str = "") -> StoreView:
        """Describe a plan's store.

        Args:
            running: keys of stages that have live Jobs, whose heartbeats are wanted.
            namespace: whose Experiment it is.
        """
        storage = self._trust.reach(namespace, plan.storage)
        if isinstance(storage, Unlisted):
            return StoreView(unlisted=storage.why)
        try:
            return self._asking(storage, lambda watch: self._view(storage, watch, plan, running))
        except MisstepError as error:
            return StoreView(error=str(error))

    def config(self, wanted: Storage, namespace: str = "") -> bytes:
        """Return the ``config.json`` at a place, for a plan. Raises MisstepError, also where the operator does not look
        there."""
        storage = self._trust.reach(namespace, wanted)
        if isinstance(storage, Unlisted):
            raise MisstepError(storage.why)
        return self._asking(storage, lambda watch: watch.bytes_of("config.json"))

    def _view(self, storage: Storage, watch: _Watch, plan: Plan, running: Collection[str]) -> StoreView:
        committed = self._committed(watch, (storage, plan.report.key), plan, running)
        found = self._accuracies(storage, watch, plan.report) if plan.report.key in committed else {}
        warnings = self._warnings(storage, watch, plan, committed)
        working = [key for key in running if key not in committed and key in plan.by_key]
        beats = self._heartbeats(watch, [plan.by_key[key] for key in working]) if working else {}
        return StoreView(committed, beats, found, warnings)

    def _asking(self, storage: Storage, ask: Callable[[_Watch], T]) -> T:
        """Ask a store within a budget, unless it is to be spared, and note how that went. Raises MisstepError."""
        server = _server(storage)
        error = self._known_error(server, storage)
        if error:
            raise MisstepError(error)
        begun = self._clock()
        try:
            found = ask(self._opened(storage)(Budget(self._limits)))
        except MisstepError as raised:
            seconds = self._clock() - begun
            # A server that is away is away for all. One that answers one store's questions without end may well answer
            # others': that is this store's own, as is a wrong bucket or a missing right.
            self._note(server, str(raised) if isinstance(raised, UnreachableError) else "", seconds)
            self._note(storage, str(raised) if isinstance(raised, LimitReached) else "", seconds)
            raise
        self._note(server)
        self._note(storage)
        return found

    def _heartbeats(self, watch: _Watch, stages: list[FrozenStage]) -> dict[str, list[Heartbeat]]:
        """Return those that are recent."""
        since = self._now() - _FRESH_SECONDS
        with ThreadPoolExecutor(_HEARTBEATS_AT_ONCE) as pool:
            found = pool.map(lambda stage: watch.heartbeats(stage.key, stage.shards, since), stages)
            return {stage.key: beats for stage, beats in zip(stages, found, strict=True) if beats}

    def _committed(
        self, watch: _Watch, name: tuple[Storage, str], plan: Plan, running: Collection[str]
    ) -> frozenset[str]:
        """Return the keys that are committed; a request each, of which there may be hundreds.

        All are asked for now and then, since others use the store too. In between only those are that may have come to
        be: of stages that run, or whose inputs are committed.
        """
        now = self._clock()
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

    def _known_error(self, *places: object) -> str:
        """Return why it is too early to ask again; whoever gets nothing is the one to ask."""
        now = self._clock()
        with self._lock:
            known = [(place, *self._down[place]) for place in places if place in self._down]
            for _, error, until in known:
                if now < until:
                    return error
            for place, error, _ in known:
                self._down[place] = error, now + _SPARED_SECONDS
        return ""

    def _note(self, place: object, error: str = "", seconds: float = 0.0) -> None:
        """Remember that a server does not answer, which took so long to find out; or that it does."""
        with self._lock:
            self._down.pop(place, None)
            if error:
                self._down[place] = error, self._clock() + min(_SPARED * seconds, _SPARED_SECONDS)
            if len(self._down) > 2 * _CONNECTIONS:
                del self._down[next(iter(self._down))]

    def _accuracies(self, storage: Storage, watch: _Watch, report: FrozenStage) -> Accuracies:
        """Return what stands in a report's manifest, which never changes: it is read once."""
        return self._remembered(storage, report.key).get(
            lambda: accuracies_of(watch.summary(report.key), points_of(report))
        )

    def _warnings(self, storage: Storage, watch: _Watch, plan: Plan, committed: Collection[str]) -> dict[str, str]:
        """Return what committed policies warn of; their manifests never change: each is read once."""
        found = {
            key: stage_warning(
                plan.by_key[key],
                self._measured(storage, key).get(lambda key=key: measured(watch.summary(key))),  # type: ignore[misc]
            )
            for key in policies(plan.stages)
            if key in committed
        }
        return {key: text for key, text in found.items() if text}


class _Once(Generic[T]):
    """What is found out about one artifact, once."""

    def __init__(self, *_: object) -> None:
        self._found: list[T] = []

    def get(self, find: Callable[[], T]) -> T:
        if not self._found:
            self._found.append(find())
        return self._found[0]


class _Watch(StoreWatch):
    """What the operator asks of one store within one budget."""

    def __init__(self, store: BoundedStore) -> None:
        super().__init__(store)
        self._bounded = store

    def bytes_of(self, path: str) -> bytes:
        return self._bounded.get(path)


def _open(storage: Storage) -> Callable[[Budget], _Watch]:
    within = open_bounded(storage)
    return lambda budget: _Watch(within(budget))


def _server(storage: Storage) -> object:
    """Name what is really asked: a bucket has a host of its own unless it stands in the path."""
    bucket = "" if storage.path_style else storage.uri.removeprefix("s3://").partition("/")[0]
    return storage.endpoint, storage.region, storage.ca_bundle, storage.path_style, bucket
