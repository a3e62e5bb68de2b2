"""Put the operator together, have it work when it leads, and serve its metrics and liveness."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web
from prometheus_client import generate_latest

from misstep_operator.api.client import Api, connect
from misstep_operator.api.kubernetes import Cluster
from misstep_operator.controller.controller import Operator
from misstep_operator.controller.election import Election, Lease
from misstep_operator.controller.reconciler import Passes
from misstep_operator.metrics import Metrics
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import Stores

_THREADS = 16


class Candidate:
    """An operator that works while it leads: at once where there is no Lease to hold."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api, self._settings = api, settings
        self.metrics = Metrics()
        self._operator: Operator | None = None
        """While it works. Each time it begins with nothing in its memory, as after a start."""
        self._election = Election(Lease(api, *settings.lease, settings.identity)) if settings.lease else None

    async def run(self) -> None:
        """Work, or stand by, until cancelled."""
        await (self._election.run(self._work) if self._election else self._work())

    async def _work(self) -> None:
        cluster = Cluster(self._api, self._settings.namespaces, self._settings.writer)
        passes = Passes(cluster, Stores(self._settings.trust), self._settings, self.metrics)
        self._operator = Operator(cluster, passes, self._settings, self.metrics)
        self.metrics.leader.set(1)
        try:
            await self._operator.run()
        finally:
            self._operator = None
            self.metrics.stand_by()

    @property
    def trouble(self) -> str:
        """Say what has stopped, for liveness; nothing where all goes on, as it does in one that stands by."""
        if self._operator and not self._operator.alive:
            return "the resync, or a pass, has stalled"
        if self._election and not self._election.alive:
            return "the election has stalled"
        return ""


async def serve(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT, or until a part of it fails."""
    # More threads than workers: looks at stores that do not answer must not hold up the planning of others.
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
        if trouble := candidate.trouble:
            return web.Response(status=503, text=f"{trouble}\n")
        return web.Response(text="ok\n")

    async def scrape(_: web.Request) -> web.Response:
        body = generate_latest(candidate.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", health), web.get("/metrics", scrape)])
    return app
