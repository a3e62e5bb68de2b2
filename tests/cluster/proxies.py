"""Proxies that simulate failures of networks and servers. Each runs in its own thread and obeys at once."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

Judge = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers in the server's stead, or returns None: then the server does. It may also wait."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
"""Headers that belong to one connection."""


@dataclass
class BadLine:
    """A line for any protocol over TCP: bytes come late, and connections break off.

    Args:
        host, port: where the server listens.
        delay: most seconds by which a piece of data is late.
        life: between how many seconds and how many a connection lives; none for as long as it likes.
    """

    host: str
    port: int
    chance: random.Random
    delay: float = 0.0
    life: tuple[float, float] | None = None
    connections: int = 0
    broken: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, pumps = None, []
        with suppress(OSError):
            there_reader, there = await asyncio.open_connection(self.host, self.port)
            pumps = [asyncio.create_task(self._pump(*each)) for each in ((reader, there), (there_reader, writer))]
            life = self.chance.uniform(*self.life) if self.life else None
            await asyncio.wait(pumps, timeout=life, return_when=asyncio.FIRST_COMPLETED)
        self.broken += 1
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for each in filter(None, (writer, there)):
            each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if self.delay:
                await asyncio.sleep(self.chance.uniform(0, self.delay))
            writer.write(data)
            await writer.drain()


@dataclass
class Middleman:
    """A proxy that reads HTTP: a judge sees each request first.

    The Host header is passed on as it came, since S3's signatures cover it. The server may speak TLS; the middleman's
    own clients speak plain HTTP.
    """

    upstream: str
    judge: Judge | None = None
    trust: ssl.SSLContext | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """For judges: how often they did what."""

    def note(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        connector = TCPConnector(ssl=self.trust or True, limit=0)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=ClientTimeout(None)) as session:
            app = web.Application(client_max_size=1 << 30)

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, session)

            app.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield runner.addresses[0][1]
            await runner.cleanup()

    async def _handle(self, request: web.Request, session: ClientSession) -> web.StreamResponse:
        if self.judge is not None and (answer := await self.judge(request)) is not None:
            return answer
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        url = URL(self.upstream + request.raw_path, encoded=True)
        auto = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
        try:
            async with session.request(
                request.method, url, headers=headers, data=body or None, skip_auto_headers=auto, allow_redirects=False
            ) as found:
                kept = [(name, value) for name, value in found.headers.items() if name.lower() not in _HOP]
                answer = web.StreamResponse(status=found.status, reason=found.reason, headers=None)
                answer.headers.extend(kept)
                await answer.prepare(request)
                async for piece in found.content.iter_any():
                    await answer.write(piece)
                await answer.write_eof()
                return answer
        except OSError:
            if request.transport is not None:
                request.transport.abort()
            raise


@contextmanager
def running(proxy: BadLine | Middleman) -> Iterator[int]:
    """Run a proxy in a thread and yield its port on 127.0.0.1."""
    loop, started, port = asyncio.new_event_loop(), threading.Event(), 0
    end = asyncio.Event()

    async def work() -> None:
        nonlocal port
        async with proxy.serving() as port:
            started.set()
            await end.wait()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work())
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20), "the proxy did not start"
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)
