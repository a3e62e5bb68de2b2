"""Read stores with the operator's own identity. It never writes there.

``trust.py`` says which stores it may open, and ``misstep.store.bounded`` limits what it reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from misstep.artifacts.progress import Heartbeat
from misstep.artifacts.watch import StoreWatch
from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.stages.overtrained import Known, measured, policies, stage_warning
from misstep.store.base import UnreachableError
from misstep.store.bounded import BoundedStore, Budget, LimitReached, Limits, open_bounded
from misstep.store.description import Storage
from misstep_operator.observed import StoreView
from misstep_operator.settings import read_trust
from misstep_operator.stores.report import Accuracies, accuracies_of, points_of
from misstep_operator.stores.trust import Trust, Unlisted

_FRESH_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0
_CONNECTIONS, _REPORTS, _POLICIES = 256, 1024, 4096
"""How many stores, reports and policies are remembered: the most recently used."""
_PAUSE_FACTOR = 3.0
"""After an error a server is not asked for this multiple of the time that the error took, ..."""
_MAX_PAUSE_SECONDS = 60.0
"""... but at most this long. A server that is down then takes a quarter of one worker, however many use it."""
_HEARTBEATS_AT_ONCE = 8
T = TypeVar("T")


@dataclass(frozen=True)
class _Known:
    """The committed stages of a plan."""

    asked: float
    """When all stages were last asked for."""
    committed: frozenset[str]


class StoreReader:
    """Reads many stores. It keeps connections, and remembers committed stages for some minutes.

    Methods block: call them in threads. One thread at a time asks a server that is down, and the others get the error
    that it found.

    Args:
        trust: which stores to open, by default from the environment.
        limits: what one read may cost.
        clock: monotonic time in seconds.
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
        """By a plan's store and its report's key, in the order in which all stages were asked for."""
        self._down: dict[object, tuple[str, float]] = {}
        """A server, or a store that takes too long -> the error, and until when it is not asked again."""
        self._lock = threading.Lock()

    def read(self, plan: Plan, running: Collection[str], namespace: str = "") -> StoreView:
        """Read what the store says about a plan.

        Args:
            running: keys of stages with live Jobs. Their heartbeats are read.
            namespace: the Experiment's namespace.
        """
        storage = self._trust.reach(namespace, plan.storage)
        if isinstance(storage, Unlisted):
            return StoreView(unlisted=storage.why)
        try:
            return self._ask(storage, lambda watch: self._view(storage, watch, plan, running))
        except MisstepError as error:
            return StoreView(error=str(error))

    def read_model_config(self, wanted: Storage, namespace: str = "") -> bytes:
        """Return a model's ``config.json``. Raises MisstepError, also where the operator may not read it."""
        storage = self._trust.reach(namespace, wanted)
        if isinstance(storage, Unlisted):
            raise MisstepError(storage.why)
        return self._ask(storage, lambda watch: watch.get_bytes("config.json"))

    def _view(self, storage: Storage, watch: _BoundedStoreWatch, plan: Plan, running: Collection[str]) -> StoreView:
        committed = self._committed(watch, (storage, plan.report.key), plan, running)
        found = self._accuracies(storage, watch, plan.report) if plan.report.key in committed else {}
        warnings = self._warnings(storage, watch, plan, committed)
        working = [key for key in running if key not in committed and key in plan.by_key]
        heartbeats = self._heartbeats(watch, [plan.by_key[key] for key in working]) if working else {}
        return StoreView(committed, heartbeats, found, warnings)

    def _ask(self, storage: Storage, ask: Callable[[_BoundedStoreWatch], T]) -> T:
        """Ask a store within a budget, unless it failed recently, and record the result. Raises MisstepError."""
        server = _server(storage)
        error = self._known_error(server, storage)
        if error:
            raise MisstepError(error)
        begun = self._clock()
        try:
            found = ask(self._opened(storage)(Budget(self._limits)))
        except MisstepError as raised:
            seconds = self._clock() - begun
            # A server that cannot be reached fails for all stores. A store that takes too long, a wrong bucket or a
            # missing right says nothing about other stores of the server.
            self._note(server, str(raised) if isinstance(raised, UnreachableError) else "", seconds)
            self._note(storage, str(raised) if isinstance(raised, LimitReached) else "", seconds)
            raise
        self._note(server)
        self._note(storage)
        return found

    def _heartbeats(self, watch: _BoundedStoreWatch, stages: list[FrozenStage]) -> dict[str, list[Heartbeat]]:
        """Return the recent heartbeats of stages."""
        since = self._now() - _FRESH_SECONDS
        with ThreadPoolExecutor(_HEARTBEATS_AT_ONCE) as pool:
            found = pool.map(lambda stage: watch.heartbeats(stage.key, stage.shards, since), stages)
            return {stage.key: heartbeats for stage, heartbeats in zip(stages, found, strict=True) if heartbeats}

    def _committed(
        self, watch: _BoundedStoreWatch, name: tuple[Storage, str], plan: Plan, running: Collection[str]
    ) -> frozenset[str]:
        """Return the keys that are committed. Each takes a request, and there may be hundreds.

        All are asked for every few minutes, since others use the store too. In between only those are that may have
        become committed: of stages that run, or whose inputs are committed.
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
        """Return why it is too early to ask again. The thread that gets an empty text asks."""
        now = self._clock()
        with self._lock:
            known = [(place, *self._down[place]) for place in places if place in self._down]
            for _, error, until in known:
                if now < until:
                    return error
            for place, error, _ in known:
                self._down[place] = error, now + _MAX_PAUSE_SECONDS
        return ""

    def _note(self, place: object, error: str = "", seconds: float = 0.0) -> None:
        """Record an error and the time that it took, or that the server answers."""
        with self._lock:
            self._down.pop(place, None)
            if error:
                self._down[place] = error, self._clock() + min(_PAUSE_FACTOR * seconds, _MAX_PAUSE_SECONDS)
            if len(self._down) > 2 * _CONNECTIONS:
                del self._down[next(iter(self._down))]

    def _accuracies(self, storage: Storage, watch: _BoundedStoreWatch, report: FrozenStage) -> Accuracies:
        """Return the accuracies in a report's manifest. It never changes, so it is read once."""
        return self._remembered(storage, report.key).get(
            lambda: accuracies_of(watch.summary(report.key), points_of(report))
        )

    def _warnings(
        self, storage: Storage, watch: _BoundedStoreWatch, plan: Plan, committed: Collection[str]
    ) -> dict[str, str]:
        """Return the warnings about committed policies. Their manifests never change, so each is read once."""
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
    """A value about one artifact that is read once."""

    def __init__(self, *_: object) -> None:
        self._found: list[T] = []

    def get(self, find: Callable[[], T]) -> T:
        if not self._found:
            self._found.append(find())
        return self._found[0]


class _BoundedStoreWatch(StoreWatch):
    """A store that is read within one budget."""

    def __init__(self, store: BoundedStore) -> None:
        super().__init__(store)
        self._bounded = store

    def get_bytes(self, path: str) -> bytes:
        return self._bounded.get(path)


def _open(storage: Storage) -> Callable[[Budget], _BoundedStoreWatch]:
    within = open_bounded(storage)
    return lambda budget: _BoundedStoreWatch(within(budget))


def _server(storage: Storage) -> object:
    """Return what identifies the server. A bucket has its own host unless it is in the path."""
    bucket = "" if storage.path_style else storage.uri.removeprefix("s3://").partition("/")[0]
    return storage.endpoint, storage.region, storage.ca_bundle, storage.path_style, bucket
