"""The API server as plain objects over HTTP: the only file that knows the client.

Objects are the dictionaries that JSON gives. The client's typed models would cost memory for each kind, and the
operator reads only a few fields.
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

_MOST_LINE_BYTES = 16 << 20
"""Ten times the largest object that etcd takes, for JSON may escape each of its bytes."""
_CONNECT_SECONDS, _SILENT_SECONDS = 10.0, 30.0
_CALL = ClientTimeout(total=60.0, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
_LIST = ClientTimeout(total=300.0, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
JSON, JSON_PATCH, MERGE_PATCH = "application/json", "application/json-patch+json", "application/merge-patch+json"
GONE = 410
Query = Mapping[str, str]


class ApiError(Exception):
    """The API server's answer to a request that it does not fulfil.

    Args:
        code: the HTTP status.
        reason: one word, such as AlreadyExists.
        causes: whether it names fields that are wrong.
    """

    def __init__(self, code: int, reason: str, message: str, *, causes: bool = False) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message, self.causes = code, reason, message, causes


class Away(Exception):
    """There is no answer: no connection, or one that breaks off."""


class Silent(Away):
    """A connection is there, and nothing comes."""


class Api:
    """Requests to the API server. Each raises ApiError, Away or Silent."""

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
        """Make one request and return the object of the answer."""
        with _our_errors():
            async with await self._open(method, path, body, query, media, timeout) as answer:
                found: dict[str, Any] = json.loads(await answer.read())
        return found

    async def items(self, path: str, query: Query | None = None) -> AsyncGenerator[dict[str, Any]]:
        """List objects, one after the other, as the answer comes in: it is never held as a whole."""
        with _our_errors():
            async with await self._open("GET", path, None, query, JSON, _LIST) as answer:
                async for found in ijson.items_async(answer.content, "items.item", use_float=True):
                    yield found
                    await asyncio.sleep(0)  # a long list may be there at once, and the Lease must be renewed meanwhile

    async def events(self, path: str, query: Query, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch: yield the type of each event and its object, until the API server ends it after so many seconds.

        An error in the stream is raised as ApiError.
        """
        more = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        silent = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=seconds + _SILENT_SECONDS)
        with _our_errors():
            async with await self._open("GET", path, None, more, JSON, silent) as answer:
                async for line in _lines(answer.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refusal(int(event["object"].get("code") or 0), event["object"])
                    yield event["type"], event["object"]

    async def _open(
        self, method: str, path: str, body: Any, query: Query | None, media: str, timeout: ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request; return the answer once its headers are there. It is the caller's to close."""
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
            status = None  # from a proxy in between, or a server that is just starting
        raise _refusal(answer.status, status if isinstance(status, dict) else {"message": text[:1000]})

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()


async def connect() -> Api:
    """Find the API server and the operator's credentials: those that KUBECONFIG names, or else those of its pod."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # no bound: each namespace that is watched holds two
    # Otherwise each request would wait for a thread to look for a netrc file, and stores that do not answer may hold
    # all threads. A proxy for stores is none for the API server either; `proxy-url` of a kubeconfig is.
    configuration.client_session_kwargs = {"trust_env": False}
    # It is given to the client as it is: a copy of it would not get the pod's next token.
    if "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG"):
        load_incluster_config(client_configuration=configuration)
    else:
        await load_kube_config(client_configuration=configuration, persist_config=False)
    client = ApiClient(configuration)
    client.user_agent = "misstep-operator"
    return Api(client)


def _refusal(code: int, status: Mapping[str, Any]) -> ApiError:
    """Make an error of a Status object."""
    details = status.get("details") or {}
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    return ApiError(code, reason, message, causes=bool(details.get("causes")))


@contextmanager
def _our_errors() -> Iterator[None]:
    """Say in this file's words what went wrong on the way."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise Away(_text(error)) from error
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise Silent(_text(error)) from error
    except (aiohttp.ClientError, OSError, ijson.JSONError, ValueError) as error:
        raise Away(_text(error)) from error  # also an answer that breaks off, so that it is no JSON


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream into lines. One that is too long is left out: who makes such an object must not end the watch of
    all others, which aiohttp's own bound of a line would."""
    line, kept = bytearray(), True
    async for chunk in stream.iter_any():
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if kept and len(line) + len(part) <= _MOST_LINE_BYTES:
                yield bytes(line + part)
            line, kept = bytearray(), True
        line += rest if kept else b""
        if len(line) > _MOST_LINE_BYTES:
            line, kept = bytearray(), False
