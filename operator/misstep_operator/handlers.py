"""The only file that knows kopf: its watches wake passes; everything else is the operator's own.

kopf's watches have been known to stop without a word, so that nothing hangs on them: every few seconds all Experiments
are listed, and those that are not idle get a pass. Only ``kopf.on.event`` is used: no finalizers, no annotations.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import kopf
import structlog
from lightkube.core.exceptions import ApiError

from misstep_operator import observed as o
from misstep_operator.cluster import Cluster
from misstep_operator.memory import give_back
from misstep_operator.metrics import Metrics
from misstep_operator.passes import Passes
from misstep_operator.settings import Settings
from misstep_operator.status import is_idle
from misstep_operator.views import experiment_view
from misstep_operator.workqueue import FairQueue

_log = structlog.get_logger(__name__)
AT_ONCE = 16
"""Passes, of which one namespace has half at most (``workqueue.py``)."""
OLDEST_PASS_SECONDS = 600.0
"""After which a pass is taken to hang: a look at a store ends after half a minute, and an API call likewise."""
_STALLED = (httpx2.ReadTimeout, httpx2.PoolTimeout)
_STALLED_RESYNCS = 6
_REOPEN_SECONDS = 2.0
_LEAST_STALL_SECONDS = 60.0


class _Patience:
    """Seconds to wait before each new try of a watch: without end, where kopf's own give up after a minute."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(5.0))


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

    def registry(self) -> kopf.OperatorRegistry:
        """Return kopf's handlers: they only wake, and are coroutines, for kopf calls others from threads."""
        registry = kopf.OperatorRegistry()

        @kopf.on.event("misstep.dev", "v1alpha1", "experiments", registry=registry)
        async def experiment_changed(namespace: str | None, name: str | None, **_: Any) -> None:
            self.wake(str(namespace), str(name))

        @kopf.on.event("batch", "v1", "jobs", registry=registry)  # of those that the settings below let through
        async def job_changed(namespace: str | None, labels: Any, **_: Any) -> None:
            if labels.get(o.EXPERIMENT_LABEL):
                self.wake(str(namespace), labels[o.EXPERIMENT_LABEL])

        @kopf.on.startup(registry=registry)
        def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
            settings.posting.enabled = False
            settings.scanning.disabled = True
            settings.watching.server_timeout = 120  # a watch that says nothing is opened anew
            settings.watching.client_timeout = 150
            # By the API server: labels of a handler would have kopf list and watch all Jobs of the cluster.
            settings.watching.label_selectors["batch", "v1", "jobs"] = f"{o.MANAGED_LABEL}={o.MANAGER}"
            settings.networking.error_backoffs = _Patience()

        @kopf.on.login(registry=registry)
        def login(**known: Any) -> kopf.ConnectionInfo | None:
            return kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)

        registered: Any = (experiment_changed, job_changed, configure, login)
        assert registered
        return registry

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled.

        Args:
            started: called once kopf has set its signal handlers, which end its watches alone: to replace them.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for _ in range(AT_ONCE):
                tasks.create_task(self._work())
            tasks.create_task(self._watch(started))

    async def _watch(self, started: Callable[[], None]) -> None:
        """Keep kopf's watches open: where they end, as by an answer that broke off at their start, open them again."""
        while True:
            ours = asyncio.all_tasks()  # at its end kopf would wait for every task that it does not know
            try:
                watches = await kopf.spawn_tasks(
                    registry=self.registry(),
                    standalone=True,
                    clusterwide=not self._settings.namespaces,
                    namespaces=self._settings.namespaces,
                )
                started()
                await kopf.run_tasks(watches, ignored=ours)
            except Exception as error:  # noqa: BLE001 - the resync goes on meanwhile
                self._failed("the watches of the API server have ended", error)
            else:
                _log.warning("the watches of the API server have ended")
            await asyncio.sleep(_REOPEN_SECONDS)

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
            if not isinstance(error, _STALLED):
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
        expected = isinstance(error, ApiError | httpx2.HTTPError)
        _log.error(what, **where, error=f"{type(error).__name__}: {error}", exc_info=None if expected else error)
