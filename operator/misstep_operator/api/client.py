"""Requests to the API server. Only this file uses the Kubernetes client.

Objects are dictionaries, as JSON gives them. The client's typed models would take memory for each kind, and only a few
fields are read.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import ijson
from aiohttp import ClientTimeout
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

_MAX_LINE_BYTES = 16 << 20
"""Ten times the largest object that etcd stores, since JSON may escape each of its bytes."""
_CONNECT_SECONDS, _SILENT_SECONDS = 10.0, 30.0
_CALL = ClientTimeout(total=60.0, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
_LIST = ClientTimeout(total=300.0, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
JSON, JSON_PATCH = "application/json", "application/json-patch+json"
GONE = 410
Query = Mapping[str, str]


class ApiError(Exception):
    """The API server refuses a request.

    Args:
        code: the HTTP status.
        reason: one word, such as ``AlreadyExists``.
        causes: whether the answer names wrong fields.
    """

    def __init__(self, code: int, reason: str, message: str, *, causes: bool = False) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message, self.causes = code, reason, message, causes


class ApiUnavailable(Exception):
    """There is no answer: the connection failed or broke."""


class ApiTimeout(ApiUnavailable):
    """The connection is there, and no data came in time."""


class RestClient:
    """Requests to the API server. Each raises ApiError, ApiUnavailable or ApiTimeout."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        media: str = JSON,
        timeout: ClientTimeout = _CALL,
    ) -> dict[str, Any]:
        """Make one request and return the object in the answer."""
        with _our_errors():
            async with await self._open(method, path, body, query, media, timeout) as answer:
                found: dict[str, Any] = json.loads(await answer.read())
        return found

    async def items(self, path: str, query: Query | None = None) -> AsyncGenerator[dict[str, Any]]:
        """Yield the objects of a list while the answer comes in. The whole list is never in memory."""
        with _our_errors():
            async with await self._open("GET", path, None, query, JSON, _LIST) as answer:
                async for found in ijson.items_async(answer.content, "items.item", use_float=True):
                    yield found
                    await asyncio.sleep(0)  # a long answer may be there at once, and the Lease must be renewed

    async def events(self, path: str, query: Query, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch objects: yield each event's type and object. The API server ends the watch after ``seconds``.

        An error in the stream raises ApiError.
        """
        query = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=seconds + _SILENT_SECONDS)
        with _our_errors():
            async with await self._open("GET", path, None, query, JSON, timeout) as answer:
                async for line in _lines(answer.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refusal(int(event["object"].get("code") or 0), event["object"])
                    yield event["type"], event["object"]

    async def _open(
        self, method: str, path: str, body: Any, query: Query | None, media: str, timeout: ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer once its headers are there. The caller closes it."""
        headers = {"Accept": JSON, "Content-Type": media}
        asked = await self._client.param_serialize(
            method,
            path,
            query_params=dict(query or {}),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer: aiohttp.ClientResponse = (await self._client.call_api(*asked, _request_timeout=timeout)).response
        if answer.status < 300:
            return answer
        async with answer:
            text = await answer.text(errors="replace")
        try:
            status = json.loads(text)
        except ValueError:
            status = None  # from a proxy, or from a server that is still starting
        raise _refusal(answer.status, status if isinstance(status, dict) else {"message": text[:1000]})

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


async def connect() -> RestClient:
    """Connect to the API server with the credentials of KUBECONFIG, or else with those of the pod."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # no limit: each watched namespace needs two
    # With trust_env each request would wait for a thread that looks for a netrc file, and stores that do not answer may
    # block all threads. It would also use a proxy that is meant for stores; `proxy-url` of a kubeconfig still works.
    configuration.client_session_kwargs = {"trust_env": False}
    # The client gets this object itself: a copy would not get the pod's next token.
    if "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG"):
        load_incluster_config(client_configuration=configuration)
    else:
        await load_kube_config(client_configuration=configuration, persist_config=False)
    client = ApiClient(configuration)
    client.user_agent = "misstep-operator"
    return RestClient(client)


def _refusal(code: int, status: Mapping[str, Any]) -> ApiError:
    """Make an error from a Status object."""
    details = status.get("details") or {}
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    return ApiError(code, reason, message, causes=bool(details.get("causes")))


@contextmanager
def _our_errors() -> Iterator[None]:
    """Raise this file's errors in place of the client's."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise ApiUnavailable(_text(error)) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise ApiTimeout(_text(error)) from error
    except (aiohttp.ClientError, OSError, ijson.JSONError, ValueError) as error:
        raise ApiUnavailable(_text(error)) from error  # also an answer that ends early and is no JSON


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream into lines, and leave out lines that are too long.

    aiohttp's own limit would raise an error, so that one such object would end the watch of all others.
    """
    line, kept = bytearray(), True
    async for chunk in stream.iter_any():
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if kept and len(line) + len(part) <= _MAX_LINE_BYTES:
                yield bytes(line + part)
            line, kept = bytearray(), True
        line += rest if kept else b""
        if len(line) > _MAX_LINE_BYTES:
            line, kept = bytearray(), False
