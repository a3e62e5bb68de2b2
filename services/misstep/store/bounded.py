"""Read a store on behalf of others, with limits on time, bytes and requests.

A process that reads many people's stores must not trust them: a server may send a byte every two seconds, never end a
listing, or answer with gigabytes. Socket timeouts do not help, since each byte restarts them. So everything received is
counted at the socket: status lines, headers and bodies, for http and https.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from misstep.errors import MisstepError
from misstep.store.base import Entry
from misstep.store.description import Storage
from misstep.store.s3 import S3Store


class LimitReached(MisstepError):
    """A store takes longer, or sends more, than the caller allows."""


@dataclass(frozen=True)
class Limits:
    """The limits on reading a store."""

    seconds: float = 30.0
    """For all operations together, retries and pauses included. Pauses may exceed it by at most 3 s."""
    total_bytes: int = 16 << 20
    """Bytes received by all operations together, headers included."""
    object_bytes: int = 1 << 20
    """Bytes of one object. A manifest of the largest plan is half of that."""
    page_bytes: int = 2 << 20
    """Bytes of one page of a listing: 1,000 names of 1,024 bytes, and the metadata of each."""
    name_bytes: int = 64 << 10
    """Bytes of the answer whether one object exists: a listing of one name."""
    requests: int = 16
    """Requests of one operation, retries included; also the most pages of a listing."""
    entries: int = 10_000
    """Of one listing."""


_ANSWER_HEAD = 64 << 10
"""Bytes of status line and headers before a body."""


class Budget:
    """What is left of the limits for a number of operations, which may run in several threads.

    Args:
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._ends = clock() + self.limits.seconds
        self._left = self.limits.total_bytes
        self._lock = threading.Lock()

    def seconds_left(self) -> float:
        return self._ends - self._clock()

    def take(self, count: int) -> bool:
        """Subtract bytes; return whether that many were left."""
        with self._lock:
            self._left -= count
            return self._left >= 0


class _Operation:
    """One operation of this thread."""

    def __init__(self, budget: Budget, what: str, most_bytes: int) -> None:
        self._budget, self._what, self._most = budget, what, most_bytes
        self._requests = 0
        self._received = 0
        self.over: LimitReached | None = None

    def seconds_left(self) -> float:
        """Return how long the store may still take. Raises LimitReached."""
        left = self._budget.seconds_left()
        if left <= 0:
            raise self._end(f"takes more than {self._budget.limits.seconds:g} s")
        return left

    def begin_request(self) -> None:
        """Count a request, before it is sent. Raises LimitReached."""
        if self.over is not None:
            raise self.over
        self.seconds_left()
        self._requests += 1
        self._received = 0
        if self._requests > self._budget.limits.requests:
            raise self._end(f"takes more than {self._budget.limits.requests} requests")

    def took(self, count: int) -> None:
        """Count received bytes. Raises LimitReached."""
        self._received += count
        if self._received > self._most + _ANSWER_HEAD:
            raise self._end(f"is more than {self._most >> 10} KiB")
        if not self._budget.take(count):
            raise self._end(f"has sent more than {self._budget.limits.total_bytes >> 20} MiB in all")

    def checked(self) -> None:
        """Raise LimitReached if a limit was reached, whatever error the client made of it."""
        if self.over is not None:
            raise self.over
        if self._requests and not self._received:
            raise AssertionError(
                "an answer was received without being counted: botocore's connections are not the expected ones"
            )

    def _end(self, what: str) -> LimitReached:
        self.over = LimitReached(f"{self._what} {what}")
        return self.over


class _Threads(threading.local):
    operation: _Operation | None = None


_now = _Threads()
"""The operation of each thread: urllib3 reads in the calling thread."""


class BoundedStore:
    """The reading half of a store in S3, within a budget.

    Methods also raise LimitReached.
    """

    def __init__(self, store: S3Store, budget: Budget) -> None:
        self._store, self._budget = store, budget

    @property
    def uri(self) -> str:
        return self._store.uri

    def exists(self, path: str) -> bool:
        with self._operation(f"{self.uri}: the listing of {path}", self._budget.limits.name_bytes):
            return self._store.exists(path)

    def get(self, path: str) -> bytes:
        with self._operation(f"{self.uri}: {path}", self._budget.limits.object_bytes):
            return self._store.get(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._operation(f"{self.uri}: the listing of {prefix}", self._budget.limits.page_bytes):
            # Complete the listing before the caller sees any of it: the caller's time between two entries must not
            # count.
            found: list[Entry] = []
            for entry in self._store.list(prefix):
                if len(found) == self._budget.limits.entries:
                    raise LimitReached(f"{self.uri}: there are more than {len(found)} objects under {prefix}")
                found.append(entry)
        yield from found

    @contextmanager
    def _operation(self, what: str, most_bytes: int) -> Iterator[None]:
        operation = _Operation(self._budget, what, most_bytes)
        operation.seconds_left()
        before, _now.operation = _now.operation, operation
        try:
            yield
        except MisstepError:
            if operation.over is not None:
                raise operation.over from None
            raise
        finally:
            _now.operation = before
        operation.checked()


def open_bounded(storage: Storage) -> Callable[[Budget], BoundedStore]:
    """Open a store in S3 once, to be read within several budgets, one after another. Raises what ``open_store``
    does."""
    store = S3Store(storage, patient=False)
    session = store.client._endpoint.http_session  # botocore takes no other class of connections than its own
    session._pool_classes_by_scheme.update(http=_HTTPPool, https=_HTTPSPool)
    session.send = partial(_send, session.send)  # botocore's hooks before parsing come after one that parses
    store.client.meta.events.register_first("before-send.s3", _count_request)
    return lambda budget: BoundedStore(store, budget)


def _count_request(**_: Any) -> None:
    if _now.operation is not None:
        _now.operation.begin_request()


def _send(send: Callable[[Any], Any], request: Any) -> Any:
    """Send a request, and refuse answers that declare XML entities. No S3 server sends them, and a few hundred bytes of
    them can expand to gigabytes of text."""
    response = send(request)
    is_xml = not request.stream_output or response.status_code >= 300
    if is_xml and (b"<!DOCTYPE" in response.content or b"<!ENTITY" in response.content):
        raise MisstepError("this is not an S3 server: its XML declares entities")
    return response


class _Metered:
    """A socket whose answers are counted."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, mode: str = "r", buffering: int | None = None, **more: Any) -> Any:
        if "r" not in mode or "b" not in mode:
            return self._sock.makefile(mode, buffering, **more)
        file = _MeteredFile(self._sock)
        return file if buffering == 0 else io.BufferedReader(file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _MeteredFile(io.RawIOBase):
    def __init__(self, sock: Any) -> None:
        self._sock, self._file = sock, sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        operation = _now.operation
        if operation is None:
            return self._file.readinto(buffer)  # type: ignore[no-any-return]
        patience, left = self._sock.gettimeout(), operation.seconds_left()
        self._sock.settimeout(left if patience is None else min(patience, left))
        try:
            count: int | None = self._file.readinto(buffer)
        except TimeoutError:
            operation.seconds_left()  # raises LimitReached if no time is left
            raise
        finally:
            self._sock.settimeout(patience)
        operation.took(count or 0)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Counted:
    """A connection whose answers are counted, and whose timeouts end with its operation's time."""

    timeout: Any
    sock: Any

    def connect(self) -> None:
        operation, patience = _now.operation, self.timeout
        if operation is not None:
            left = operation.seconds_left()
            self.timeout = min(patience, left) if isinstance(patience, int | float) else left
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self.timeout = patience
        self.sock = _Metered(self.sock)


class _HTTPConnection(_Counted, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_Counted, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HTTPSConnection
