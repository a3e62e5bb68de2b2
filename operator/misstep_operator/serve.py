"""Start the operator's parts, run them while it leads, and serve metrics and liveness."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web
from prometheus_client import generate_latest

from misstep_operator.api.client import RestClient, connect
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.controller.controller import Controller
from misstep_operator.controller.election import Election, Lease
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.metrics import Metrics
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import StoreReader

_THREADS = 16


class Candidate:
    """An operator that works while it leads. Without a Lease it always does."""

    def __init__(self, api: RestClient, settings: Settings) -> None:
        self._api, self._settings = api, settings
        self.metrics = Metrics()
        self._controller: Controller | None = None
        """Set while it works. Each time it begins with an empty memory, as after a start."""
        self._election = Election(Lease(api, *settings.lease, settings.identity)) if settings.lease else None

    async def run(self) -> None:
        """Work, or stand by, until cancelled."""
        await (self._election.run(self._work) if self._election else self._work())

    async def _work(self) -> None:
        api = KubernetesApi(self._api, self._settings.namespaces, self._settings.writer)
        reconciler = Reconciler(api, StoreReader(self._settings.trust), self._settings, self.metrics)
        self._controller = Controller(api, reconciler, self._settings, self.metrics)
        self.metrics.leader.set(1)
        try:
            await self._controller.run()
        finally:
            self._controller = None
            self.metrics.stand_by()

    @property
    def problem(self) -> str:
        """Return what has stopped, for the liveness probe. Empty where nothing has, also in a standby."""
        if self._controller and not self._controller.alive:
            return "the resync or a reconcile has stalled"
        if self._election and not self._election.alive:
            return "the election has stalled"
        return ""


async def serve(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT, or until a part of it fails."""
    # Stores are read in other threads, so that a store that does not answer does not delay the planning of others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    api = await connect()
    candidate = Candidate(api, settings)
    runner = web.AppRunner(_app(candidate), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=settings.metrics_port).start()
    work = asyncio.create_task(candidate.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        pass
    finally:
        await runner.cleanup()
        await api.close()


def _app(candidate: Candidate) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        if problem := candidate.problem:
            return web.Response(status=503, text=f"{problem}\n")
        return web.Response(text="ok\n")

    async def scrape(_: web.Request) -> web.Response:
        body = generate_latest(candidate.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", health), web.get("/metrics", scrape)])
    return app
