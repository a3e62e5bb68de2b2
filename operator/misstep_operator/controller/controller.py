"""When an Experiment is reconciled, and by which worker.

Watches only make it sooner. Every few seconds all Experiments are listed, and those that are not idle are reconciled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from misstep_operator import malloc
from misstep_operator import observed as o
from misstep_operator.api.client import ApiError, ApiTimeout, ApiUnavailable
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.api.parse import experiment_view
from misstep_operator.api.watch import watch
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.controller.workqueue import FairQueue
from misstep_operator.decision.status import is_idle
from misstep_operator.metrics import Metrics
from misstep_operator.settings import Settings

_log = structlog.get_logger(__name__)
WORKERS = 16
"""How many Experiments are reconciled at a time. One namespace has at most half of the workers (``workqueue.py``)."""
MAX_RECONCILE_SECONDS = 600.0
"""A reconcile that takes longer hangs: reads of stores and API calls end after half a minute."""
_MAX_RESYNCS = 6
_MIN_STALL_SECONDS = 60.0


class Controller:
    """Reconciles Experiments after events and at regular times."""

    def __init__(self, api: KubernetesApi, reconciler: Reconciler, settings: Settings, metrics: Metrics) -> None:
        self._api, self._reconciler, self._settings, self._metrics = api, reconciler, settings, metrics
        self._queue = FairQueue(WORKERS)
        self._queue_changed = asyncio.Event()
        """A worker may find something in the queue."""
        metrics.ages = self._ages
        self.last_list = time.monotonic()

    def enqueue(self, namespace: str, name: str) -> None:
        """Have an Experiment reconciled soon. One that is already in the queue stays there once."""
        self._queue.add((namespace, name), time.monotonic())
        self._queue_changed.set()

    @property
    def alive(self) -> bool:
        """Return whether the resync goes on and each reconcile ends, for the liveness probe.

        It is true while the API server refuses or is away, since a restart would not help. It is false where lists
        never end, as on dead connections, or where a reconcile takes longer than all of its timeouts together.
        """
        patience = max(_MIN_STALL_SECONDS, _MAX_RESYNCS * self._settings.resync_seconds)
        now = time.monotonic()
        return now - self.last_list < patience and self._queue.oldest_working(now) < MAX_RECONCILE_SECONDS

    def _ages(self) -> tuple[float, float]:
        """Return the age in seconds of the oldest reconcile, and of the oldest entry that waits in the queue."""
        now = time.monotonic()
        return self._queue.oldest_working(now), self._queue.oldest_waiting(now)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for _ in range(WORKERS):
                tasks.create_task(self._work())
            for namespace in self._api.namespaces:
                for source, changed in self._watched():
                    failed = partial(self._log_error, "a watch of the API server has ended", namespace=namespace)
                    tasks.create_task(watch(partial(source, namespace), changed, failed))

    def _watched(self) -> list[tuple[Callable[..., Any], Callable[[dict[str, Any]], None]]]:
        """Return what is watched, and what to do with each changed object."""

        def experiment_changed(body: dict[str, Any]) -> None:
            self.enqueue(body["metadata"]["namespace"], body["metadata"]["name"])

        def job_changed(body: dict[str, Any]) -> None:
            name = (body["metadata"].get("labels") or {}).get(o.EXPERIMENT_LABEL)
            if name:
                self.enqueue(body["metadata"]["namespace"], name)

        return [(self._api.watch_experiments, experiment_changed), (self._api.watch_jobs, job_changed)]

    async def _resync(self) -> None:
        while True:
            complete = True
            for namespace in self._api.namespaces:
                complete &= await self._list(namespace)
            if complete:
                self._metrics.resync.set_to_current_time()
            malloc.release_unused()
            await asyncio.sleep(self._settings.resync_seconds)

    async def _list(self, namespace: str) -> bool:
        """Enqueue the Experiments of a namespace, or of all for "*", that are not idle. Return whether that worked.

        A failure must not stop the other namespaces: this one may have been deleted with the operator's Role.
        """
        before = {each for each in self._reconciler.known() if namespace in ("*", each[0])}
        names = set()
        try:
            async for body in self._api.experiments(namespace):
                name = body["metadata"]["namespace"], body["metadata"]["name"]
                names.add(name)
                if not is_idle(experiment_view(body)):
                    self.enqueue(*name)
        except Exception as error:  # noqa: BLE001 - the next resync tries again, whatever it was
            self._log_error("the API server did not list Experiments", error, namespace=namespace)
            if not isinstance(error, ApiTimeout):
                self.last_list = time.monotonic()
            return False
        self.last_list = time.monotonic()
        for gone in before - names:
            self.enqueue(*gone)  # forgotten once a request for it alone says that it is gone
        return True

    async def _work(self) -> None:
        while True:
            while (experiment := self._queue.take(time.monotonic())) is None:
                self._queue_changed.clear()
                await self._queue_changed.wait()
            namespace, name = experiment
            try:
                await self._reconciler.reconcile(namespace, name)
            except Exception as error:  # noqa: BLE001 - the next resync tries again, and only time is lost
                self._metrics.errors.inc()
                self._log_error("reconcile failed", error, namespace=namespace, experiment=name)
            self._queue.end(experiment, time.monotonic())
            self._queue_changed.set()  # its namespace may have another worker now

    def _log_error(self, what: str, error: Exception, **where: str) -> None:
        """Log an error, without a traceback where the API server refuses or is away, which may last."""
        expected = isinstance(error, ApiError | ApiUnavailable)
        _log.error(what, **where, error=f"{type(error).__name__}: {error}", exc_info=None if expected else error)
