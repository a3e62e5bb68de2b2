"""Servers that a tenant runs in place of a store, real stores, and an operator's requests to them."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from misstep.plan.planner import Plan
from misstep.store.description import Storage
from misstep_operator.stores.trust import ListedStore, Trust
from tests.operator.world import PLAN
from tests.store import servers

LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>artifacts</Name><Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys>"
    "<IsTruncated>{more}</IsTruncated>{rest}</ListBucketResult>"
)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        try:
            self.server.answer(self)
        except OSError:  # the other side has had enough
            self.close_connection = True

    do_HEAD = do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815 - as the base class calls them

    def say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def _pack(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(b" " * (1 << 20)) for _ in range(mebibytes)), packer.flush()])


_PACKED = _pack(60)
Answer = Callable[[_Handler], None]


@dataclass
class Hostile:
    """A server at work."""

    endpoint: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving(answer: Answer) -> Iterator[Hostile]:
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    server: Any = Server(("127.0.0.1", 0), _Handler)
    found = Hostile(f"http://127.0.0.1:{server.server_address[1]}")
    server.requests, server.answer = found.requests, answer
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def nothing(handler: _Handler) -> None:
    """An empty listing for every question."""
    handler.say(200, LISTING.format(more="false", rest="").encode())


def forwarding(to: str) -> Answer:
    """Pass each request on, byte for byte, to a real server."""

    def answer(handler: _Handler) -> None:
        connection = http.client.HTTPConnection(urlsplit(to).netloc)
        connection.request(handler.command, handler.path, headers=dict(handler.headers))
        got = connection.getresponse()
        handler.say(got.status, got.read())

    return answer


def dripping(handler: _Handler, where: str = "body") -> None:
    """A byte every half second, without end."""
    if where == "body":
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
    else:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.5)


def huge(handler: _Handler, mebibytes: int = 200) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(mebibytes << 20))
    handler.end_headers()
    for _ in range(mebibytes):
        handler.wfile.write(b" " * (1 << 20))


def huge_head(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        handler.wfile.write(b"X-%d: %s\r\n" % (number, b"a" * 60_000))


def endless(handler: _Handler) -> None:
    """Pages without an entry, each of which says that another follows."""
    token = f"<NextContinuationToken>t{time.monotonic_ns()}</NextContinuationToken>"
    handler.say(200, LISTING.format(more="true", rest=token).encode())


def packed(handler: _Handler) -> None:
    """Sixty MiB as sixty KiB."""
    handler.say(200, _PACKED, Content_Encoding="gzip")


def laughing(handler: _Handler) -> None:
    """Entities of entities: some gigabytes."""
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    handler.say(200, f'<!DOCTYPE l [<!ENTITY e0 "ha">{lines}]><ListBucketResult>&e9;</ListBucketResult>'.encode())


def plan_at(storage: Storage) -> Plan:
    """The plan of tests, in another store."""
    return Plan(experiment="e", stages=tuple(stage.model_copy(update={"storage": storage}) for stage in PLAN.stages))


def at(endpoint: str | None, uri: str = f"s3://{servers.BUCKET}/runs", **more: Any) -> Storage:
    """What an Experiment says of its store."""
    return Storage(uri=uri, endpoint=endpoint, **{"region": "us-east-1", "path_style": True, **more})


def entry(endpoint: str | None, uri: str = f"s3://{servers.BUCKET}", *namespaces: str, **more: Any) -> ListedStore:
    return ListedStore(
        uri=uri,
        endpoint=endpoint,
        namespaces=namespaces or ("*",),
        **{"region": "us-east-1", "path_style": True, **more},
    )


def listing(*entries: ListedStore) -> Trust:
    return Trust(entries)
