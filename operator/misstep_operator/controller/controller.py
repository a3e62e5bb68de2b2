"""Who gets a pass and when.

Watches only wake passes, and nothing hangs on them: every few seconds all Experiments are listed, and those that are
not idle get a pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from misstep_operator import observed as o
from misstep_operator.api.client import ApiError, Away, Silent
from misstep_operator.api.kubernetes import Cluster
from misstep_operator.api.parse import experiment_view
from misstep_operator.api.watch import watch
from misstep_operator.controller.reconciler import Passes
from misstep_operator.controller.workqueue import FairQueue
from misstep_operator.decision.status import is_idle
from misstep_operator.malloc import give_back
from misstep_operator.metrics import Metrics
from misstep_operator.settings import Settings

_log = structlog.get_logger(__name__)
AT_ONCE = 16
"""Passes, of which one namespace has half at most (``workqueue.py``)."""
OLDEST_PASS_SECONDS = 600.0
"""After which a pass is taken to hang: looks at stores and API calls end after half a minute."""
_STALLED_RESYNCS = 6
_LEAST_STALL_SECONDS = 60.0


class Operator:
    """Wakes passes, by events and by its own clock."""

    def __init__(self, cluster: Cluster, passes: Passes, settings: Settings, metrics: Metrics) -> None:
        self._cluster, self._passes, self._settings, self._metrics = cluster, passes, settings, metrics
        self._queue = FairQueue(AT_ONCE)
        self._news = asyncio.Event()
        """Somebody may find a pass to make."""
        metrics.ages = self._ages
        self.last_turn = time.monotonic()

    def wake(self, namespace: str, name: str) -> None:
        """Ask for a pass soon; asking again before it begins changes nothing."""
        self._queue.add((namespace, name), time.monotonic())
        self._news.set()

    @property
    def alive(self) -> bool:
        """Return whether the resync goes on and passes end: what liveness means. They do where the API server refuses
        or is away, which no restart would help; they do not where lists begin and never end, as on connections that
        are dead, or where a pass has been at work for longer than all that it waits for may take."""
        patience = max(_LEAST_STALL_SECONDS, _STALLED_RESYNCS * self._settings.resync_seconds)
        now = time.monotonic()
        return now - self.last_turn < patience and self._queue.oldest_working(now) < OLDEST_PASS_SECONDS

    def _ages(self) -> tuple[float, float]:
        """Return for how many seconds the oldest pass has been at work, and the oldest request for one has waited."""
        now = time.monotonic()
        return self._queue.oldest_working(now), self._queue.oldest_waiting(now)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for _ in range(AT_ONCE):
                tasks.create_task(self._work())
            for namespace in self._cluster.namespaces:
                for source, seen in self._watched():
                    failed = partial(self._failed, "a watch of the API server has ended", namespace=namespace)
                    tasks.create_task(watch(partial(source, namespace), seen, failed))

    def _watched(self) -> list[tuple[Callable[..., Any], Callable[[dict[str, Any]], None]]]:
        """Return what is watched, and what is done with each object that has changed."""

        def experiment_changed(body: dict[str, Any]) -> None:
            self.wake(body["metadata"]["namespace"], body["metadata"]["name"])

        def job_changed(body: dict[str, Any]) -> None:
            name = (body["metadata"].get("labels") or {}).get(o.EXPERIMENT_LABEL)
            if name:
                self.wake(body["metadata"]["namespace"], name)

        return [(self._cluster.experiment_events, experiment_changed), (self._cluster.job_events, job_changed)]

    async def _resync(self) -> None:
        while True:
            complete = True
            for namespace in self._cluster.namespaces:
                complete &= await self._list(namespace)
            if complete:
                self._metrics.resync.set_to_current_time()
            give_back()
            await asyncio.sleep(self._settings.resync_seconds)

    async def _list(self, namespace: str) -> bool:
        """Wake what is not idle in a namespace, or "*"; tell whether the API server listed it.

        One that it does not list, as where a namespace went with the operator's rights there, is no reason to leave
        the others alone.
        """
        before = {each for each in self._passes.known() if namespace in ("*", each[0])}
        names = set()
        try:
            async for body in self._cluster.experiments(namespace):
                name = body["metadata"]["namespace"], body["metadata"]["name"]
                names.add(name)
                if not is_idle(experiment_view(body)):
                    self.wake(*name)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next turn asks again
            self._failed("the API server did not list Experiments", error, namespace=namespace)
            if not isinstance(error, Silent):
                self.last_turn = time.monotonic()
            return False
        self.last_turn = time.monotonic()
        for gone in before - names:
            self.wake(*gone)  # to be forgotten, once the API server has said of it alone that it is gone
        return True

    async def _work(self) -> None:
        while True:
            while (experiment := self._queue.take(time.monotonic())) is None:
                self._news.clear()
                await self._news.wait()
            namespace, name = experiment
            try:
                await self._passes.make(namespace, name)
            except Exception as error:  # noqa: BLE001 - the next resync tries again: nothing is lost but time
                self._metrics.errors.inc()
                self._failed("pass failed", error, namespace=namespace, experiment=name)
            self._queue.end(experiment, time.monotonic())
            self._news.set()  # a namespace may now have its share

    def _failed(self, what: str, error: Exception, **where: str) -> None:
        """Log an error: in one line where the API server refuses or is away, which may go on for a while."""
        expected = isinstance(error, ApiError | Away)
        _log.error(what, **where, error=f"{type(error).__name__}: {error}", exc_info=None if expected else error)
