"""The API server goes away, is slow, drops connections, or its watches fall silent."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from base64 import b64decode
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from cluster import life
from cluster.life import kubectl
from cluster.places import ClusterError
from tests.cluster.faults import Undisturbed, assert_nothing_left, assert_same, at_least, operator, small
from tests.cluster.operating import LEASE, Operating
from tests.cluster.proxies import BadLine, Middleman, running
from tests.eventually import eventually
from tests.sampling import SEED

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]


def api_server(world: Operating) -> tuple[str, ssl.SSLContext]:
    """The API server's URL, and the trust that it needs."""
    (cluster,) = yaml.safe_load(world.kubeconfig.read_text())["clusters"]
    authority = b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    return cluster["cluster"]["server"], ssl.create_default_context(cadata=authority)


def answers(kubeconfig: Path) -> bool:
    try:
        kubectl(kubeconfig, "get", "--raw=/readyz")
    except ClusterError:
        return False
    return True


@pytest.mark.faults(seconds=70)
def test_the_api_server_is_restarted_and_restarted_again(ground: Operating, undisturbed: Undisturbed) -> None:
    document = small(ground, "api-restart")
    with operator(ground, MISSTEP_LEASE=LEASE) as pid:
        ground.apply(document)
        for stages, seconds in (1, 0.0), (2, 15.0), (4, 4.0):
            ground.wait("api-restart", f"{stages} stages", at_least(stages))
            with life.without(ground.kubeconfig.parents[1], "kube-apiserver", follow=True):
                time.sleep(seconds)
            eventually(lambda: answers(ground.kubeconfig), 60)
        ground.wait_for_state("api-restart", "Succeeded")
        assert ground.operators[0].poll() is None, ground.log()[-4000:]
        assert ground.healthy(pid)
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "api-restart")


@pytest.mark.faults(seconds=45)
def test_the_way_to_the_api_server_is_slow_and_breaks_off(ground: Operating, undisturbed: Undisturbed) -> None:
    url, _ = api_server(ground)
    host, _, port = url.removeprefix("https://").partition(":")
    chance = random.Random(os.environ[SEED])
    line = BadLine(host, int(port), chance, delay=0.4, life=(0.5, 8.0))
    document = small(ground, "api-slow")
    with running(line) as proxy, operator(ground, f"https://127.0.0.1:{proxy}", MISSTEP_LEASE=LEASE):
        ground.apply(document)
        ground.wait_for_state("api-slow", "Succeeded")
        assert ground.operators[0].poll() is None, ground.log()[-4000:]
        assert line.broken > 5
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "api-slow")


@pytest.mark.faults(seconds=35)
def test_watches_fall_silent_without_a_word(ground: Operating, undisturbed: Undisturbed) -> None:
    """The proxy keeps the operator's watches open and lets nothing through: the resync alone carries the Experiment."""
    url, trust = api_server(ground)
    document = small(ground, "silent-watch")
    proxy = Middleman(url, trust=trust)

    async def swallow_watches(request: web.Request) -> web.StreamResponse | None:
        if request.query.get("watch") != "true":
            return None
        proxy.note(request.path)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        await asyncio.Event().wait()
        return answer

    proxy.judge = swallow_watches
    with running(proxy) as port, operator(ground, f"http://127.0.0.1:{port}") as pid:
        ground.apply(document)
        ground.wait_for_state("silent-watch", "Succeeded")
        assert len(proxy.counts) == 2  # Experiments and Jobs
        assert ground.healthy(pid)
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "silent-watch")


@pytest.mark.faults(seconds=90)
def test_liveness_fails_while_lists_stall_and_recovers(ground: Operating) -> None:
    url, trust = api_server(ground)
    proxy = Middleman(url, trust=trust)
    stalled = asyncio.Event()

    async def stall_lists(request: web.Request) -> web.StreamResponse | None:
        if proxy.counts and request.path.endswith("/experiments") and request.query.get("watch") != "true":
            await stalled.wait()
        return None

    proxy.judge = stall_lists
    with running(proxy) as port, operator(ground, f"http://127.0.0.1:{port}") as pid:
        eventually(lambda: "misstep_last_resync_timestamp_seconds 1." in ground.metrics(pid), 30)
        assert ground.healthy(pid)
        proxy.note("stall")
        began = time.monotonic()
        eventually(lambda: not ground.healthy(pid), 90)
        print(f"liveness failed {time.monotonic() - began:.0f} s after lists began to stall")
        proxy.counts.clear()
        eventually(lambda: ground.healthy(pid), 45)
