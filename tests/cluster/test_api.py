"""The operator's requests to a real API server, and the errors that it gets."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientTimeout, web

from cluster.life import kubectl
from misstep.processes import free_port
from misstep_operator.api import client as a
from misstep_operator.api.client import ApiError, ApiTimeout, ApiUnavailable, RestClient, connect
from tests.cluster.proxies import BadLine, Middleman, running

pytestmark = pytest.mark.cluster
MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, text: str = "") -> dict[str, Any]:
    labels = {"made-by": "test-api"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"t": text}}


@asynccontextmanager
async def connected(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RestClient]:
    # The client reads the variable when it is imported.
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    api = await connect()
    try:
        yield api
    finally:
        await api.close()


def through(kubeconfig: Path, port: int, folder: Path) -> Path:
    """Return a kubeconfig that reaches the API server by a port of this machine."""
    document = yaml.safe_load(kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_objects_are_made_listed_watched_and_deleted(control_plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"labelSelector": "made-by=test-api"}

    async def run() -> None:
        async with connected(control_plane, monkeypatch) as api:
            for number in range(3):
                await api.call("POST", MAPS, config_map(f"test-api-{number}", "häßlich \\" * 50_000))
            names = [found["metadata"]["name"] async for found in api.items(MAPS, mine)]
            assert names == [f"test-api-{number}" for number in range(3)]
            as_kubectl = json.loads(
                kubectl(control_plane, "get", "configmaps", "-l", "made-by=test-api", "-ojson", "--show-managed-fields")
            )
            kept = ("metadata", "data")
            assert [{k: each[k] for k in kept} for each in as_kubectl["items"]] == [
                {k: each[k] for k in kept} async for each in api.items(MAPS, mine)
            ]
            events = api.events(MAPS, mine, 20)
            changes = (each async for each in events if each[0] != "BOOKMARK")
            first = [await anext(changes) for _ in range(3)]
            assert [(kind, body["metadata"]["name"]) for kind, body in first] == [("ADDED", name) for name in names]
            await api.call("DELETE", f"{MAPS}/test-api-1", {"propagationPolicy": "Background"})
            kind, body = await anext(changes)
            assert (kind, body["metadata"]["name"]) == ("DELETED", "test-api-1")
            version = body["metadata"]["resourceVersion"]
            await events.aclose()  # type: ignore[attr-defined]
            await api.call("DELETE", f"{MAPS}/test-api-2")
            later = api.events(MAPS, {**mine, "resourceVersion": version}, 1)
            seen = [(kind, body["metadata"].get("name")) async for kind, body in later]
            assert [each for each in seen if each[0] != "BOOKMARK"] == [("DELETED", "test-api-2")], "and it ended"
            await api.call("DELETE", f"{MAPS}/test-api-0")

    asyncio.run(run())


def test_refusals_of_the_api_server_are_reported_in_its_words(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(asked: Awaitable[Any]) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await asked
        return caught.value

    async def run() -> None:
        async with connected(control_plane, monkeypatch) as api:
            error = await refused(api.call("GET", f"{MAPS}/nobody"))
            assert (error.code, error.reason, error.causes) == (404, "NotFound", False)
            assert "nobody" in error.message
            await api.call("POST", MAPS, config_map("test-twice"))
            error = await refused(api.call("POST", MAPS, config_map("test-twice")))
            assert (error.code, error.reason) == (409, "AlreadyExists")
            patch = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]
            error = await refused(api.call("PATCH", f"{MAPS}/test-twice", patch, media=a.JSON_PATCH))
            assert (error.code, error.causes) == (422, False)
            error = await refused(api.call("POST", MAPS, config_map("Not A Name")))
            assert (error.code, error.causes) == (422, True)
            error = await refused(anext(api.events(MAPS, {"labelSelector": "no selector"}, 5)))
            assert error.code == 400
            await api.call("DELETE", f"{MAPS}/test-twice")

    asyncio.run(run())


def test_threads_that_are_held_up_hold_no_request_up(control_plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that do not answer may hold them all, and the Lease must be renewed meanwhile."""
    held = threading.Event()

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        waiting = [asyncio.create_task(asyncio.to_thread(held.wait)) for _ in range(4)]
        try:
            async with connected(control_plane, monkeypatch) as api, asyncio.timeout(10):
                await asyncio.sleep(0.1)
                await api.call("GET", "/api/v1/namespaces/default")
        finally:
            held.set()
            await asyncio.gather(*waiting)

    asyncio.run(run())


def test_an_absent_api_server_is_distinguished_from_a_silent_one(
    control_plane: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Liveness hangs on it: a restart would change nothing where there is no connection, and may where one is dead."""
    url = yaml.safe_load(control_plane.read_text())["clusters"][0]["cluster"]["server"]
    host, _, port = url.removeprefix("https://").partition(":")
    monkeypatch.setattr(a, "_CALL", ClientTimeout(total=5.0, sock_read=1.0))
    monkeypatch.setattr(a, "_LIST", ClientTimeout(total=5.0, sock_read=1.0))

    async def ask(kubeconfig: Path) -> None:
        async with connected(kubeconfig, monkeypatch) as api:
            async for _ in api.items(MAPS):
                pass

    asyncio.run(ask(control_plane))
    with pytest.raises(ApiUnavailable) as caught:
        asyncio.run(ask(through(control_plane, free_port(), tmp_path)))
    assert not isinstance(caught.value, ApiTimeout)
    line = BadLine(host, int(port), random.Random(1), life=(0.0, 0.0))
    with running(line) as there, pytest.raises(ApiUnavailable) as caught:
        asyncio.run(ask(through(control_plane, there, tmp_path)))
    assert not isinstance(caught.value, ApiTimeout)

    async def nothing(request: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(60)
        return None

    with running(Middleman(url, nothing)) as there, pytest.raises(ApiTimeout):
        plain = through(control_plane, there, tmp_path)
        plain.write_text(plain.read_text().replace("https://127", "http://127"))
        asyncio.run(ask(plain))


def test_an_answer_that_breaks_off_or_is_no_json_is_no_list(
    control_plane: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [b'{"items": [{"metadata": {}}, {"met', b"<html>bad gateway</html>", b""]

    async def answer(request: web.Request) -> web.StreamResponse | None:
        return web.Response(body=texts.pop(0), content_type="application/json")

    async def ask(kubeconfig: Path) -> int:
        async with connected(kubeconfig, monkeypatch) as api:
            return len([found async for found in api.items(MAPS)])

    with running(Middleman("http://127.0.0.1:1", answer)) as there:
        path = through(control_plane, there, tmp_path)
        path.write_text(path.read_text().replace("https://127", "http://127"))
        while texts:
            with pytest.raises(ApiUnavailable):
                asyncio.run(ask(path))
