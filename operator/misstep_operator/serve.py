"""Put the operator together and serve its metrics and liveness."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2
import lightkube
from aiohttp import web
from prometheus_client import generate_latest

from misstep_operator.cluster import Cluster
from misstep_operator.handlers import Operator
from misstep_operator.metrics import Metrics
from misstep_operator.passes import Passes
from misstep_operator.settings import Settings
from misstep_operator.storeview import Stores

_THREADS = 16


async def serve(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT, or until a part of it fails."""
    metrics = Metrics()
    # More threads than workers: looks at stores that do not answer must not hold up the planning of others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    client = lightkube.AsyncClient(timeout=httpx2.Timeout(30.0))
    cluster = Cluster(client, settings.namespaces, settings.writer)
    operator = Operator(cluster, Passes(cluster, Stores(settings.trust), settings, metrics), settings, metrics)
    runner = web.AppRunner(_app(operator, metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=settings.metrics_port).start()
    loop = asyncio.get_running_loop()

    def end_by_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)

    work = asyncio.create_task(operator.run(end_by_signals))
    end_by_signals()
    try:
        await work
    except asyncio.CancelledError:
        pass
    finally:
        await runner.cleanup()


def _app(operator: Operator, metrics: Metrics) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        if operator.alive:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the resync, or a pass, has stalled\n")

    async def scrape(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", health), web.get("/metrics", scrape)])
    return app
