"""The S3 server goes away, and answers 503 and wrong 412s."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from aiohttp import web

from tests.cluster.faults import ALL, Undisturbed, assert_nothing_left, assert_same, operator, pods_of, small
from tests.cluster.operating import SECRET_NAME, Operating
from tests.cluster.proxies import BadLine, Middleman, running
from tests.eventually import eventually
from tests.sampling import SEED
from tests.store import servers

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]


@pytest.mark.faults(seconds=70)
def test_the_s3_server_is_away_while_a_stage_runs(ground: Operating, undisturbed: Undisturbed) -> None:
    """A server of its own, killed and started again on the same disk and port: a minute, or ten seconds in a sample."""
    seconds = 60.0 if ALL else 10.0
    port, folder = servers.free_port(), ground.folder / "s3-away"
    with ExitStack() as up, operator(ground, stores=[f"http://127.0.0.1:{port}"]):
        endpoint = up.enter_context(servers.versitygw(folder, port=port))
        servers.make_bucket(endpoint)
        document = small(ground, "s3-away", endpoint)
        ground.apply(document)
        ground.wait("s3-away", "first stage", lambda status: status.get("completed", 0) >= 1)
        up.close()
        began = time.monotonic()
        ground.wait("s3-away", "notice", lambda status: readable(status) == "False", 90)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        with servers.versitygw(folder, port=port):
            eventually(lambda: readable(ground.status("s3-away")) == "True", 60)
            ground.wait_for_state("s3-away", "Succeeded")
            assert_same(ground, undisturbed, document, jobs=None, endpoint=endpoint, gaps=True)
            assert_nothing_left(ground, "s3-away", endpoint=endpoint)


@pytest.mark.faults(seconds=60)
def test_keys_are_changed_while_a_stage_runs(ground: Operating, undisturbed: Undisturbed) -> None:
    """New ones are in the Secret before the server refuses the old ones; a pod that holds those is replaced."""
    port, folder = servers.free_port(), ground.folder / "s3-keys"
    with ExitStack() as old, operator(ground, stores=[f"http://127.0.0.1:{port}"]):
        endpoint = old.enter_context(servers.versitygw(folder, port=port))
        servers.make_bucket(endpoint)
        # Of that many problems neither shard has ended before the server is changed.
        document = small(ground, "s3-keys", endpoint, problems__test__limit=600)
        uploaded = ground.upload(document)
        old.close()
        old.callback(set_keys, ground, servers.ACCESS, servers.SECRET)
        old.enter_context(servers.versitygw(folder, "--access", "withdrawn", "--secret", "withdrawn", port=port))
        set_keys(ground, "withdrawn", "withdrawn")
        ground.kubectl("apply", "-f-", stdin=uploaded)
        eventually(lambda: sum("block finished" in log for log in said(ground, "s3-keys", "log")) >= 2, 120)
        old.close()
        with servers.versitygw(folder, port=port):
            ground.wait_for_state("s3-keys", "Succeeded")
            last = list(said(ground, "s3-keys", "termination-log"))
            assert any("...rawn from env was accepted before and is refused now" in each for each in last), last
            assert_same(ground, undisturbed, document, endpoint=endpoint, gaps=True)
            assert_nothing_left(ground, "s3-keys", endpoint=endpoint)


def said(ground: Operating, name: str, file: str) -> Iterator[str]:
    """What each pod of an Experiment's stage of two shards wrote into a file."""
    for pod, folder in pods_of(ground, name):
        if pod["metadata"]["labels"]["misstep.dev/key"].startswith("sample-") and (folder / file).exists():
            yield (folder / file).read_text()


def set_keys(ground: Operating, access: str, secret: str) -> None:
    """Of stages whose pods start from now on."""
    keys = {"stringData": {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}}
    ground.kubectl("patch", "secret", SECRET_NAME, "--type=merge", "-p", json.dumps(keys))


def readable(status: dict[str, object]) -> str:
    conditions = status.get("conditions")
    assert isinstance(conditions, list)
    return next((str(each["status"]) for each in conditions if each["type"] == "StoreReadable"), "")


@pytest.mark.faults(seconds=45)
def test_the_s3_server_answers_503_and_412_at_random(ground: Operating, undisturbed: Undisturbed) -> None:
    """Operator and stages meet it. Both come in the place of what was asked: a 412, and there is no such object."""
    proxy, chance = Middleman(ground.endpoint), random.Random(os.environ[SEED])

    async def moody(request: web.Request) -> web.StreamResponse | None:
        if not proxy.counts:
            return None
        if chance.random() < 0.1:
            proxy.note("503")
            return s3_answer(503, "SlowDown")
        if request.headers.get("If-None-Match") == "*" and chance.random() < 0.3:
            proxy.note("412")
            return s3_answer(412, "PreconditionFailed")
        return None

    proxy.judge = moody
    with running(proxy) as port, operator(ground, stores=[f"http://127.0.0.1:{port}"]):
        document = small(ground, "s3-moody", f"http://127.0.0.1:{port}")
        ground.apply(document)
        proxy.note("on")
        ground.wait_for_state("s3-moody", "Succeeded")
        assert proxy.counts["503"] > 10
        assert proxy.counts["412"] > 1
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "s3-moody")


def s3_answer(status: int, code: str) -> web.Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>as told</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@pytest.mark.faults(seconds=45)
def test_the_way_to_the_s3_server_breaks_off(ground: Operating, undisturbed: Undisturbed) -> None:
    """Answers are lost whose requests were carried out: an object put for the first time is there at the second."""
    port = int(ground.endpoint.rpartition(":")[2])
    line = BadLine("127.0.0.1", port, random.Random(os.environ[SEED]), delay=0.05, life=(0.05, 1.0))
    with running(line) as here, operator(ground, stores=[f"http://127.0.0.1:{here}"]):
        document = small(ground, "s3-breaks", f"http://127.0.0.1:{here}")
        ground.apply(document)
        ground.wait_for_state("s3-breaks", "Succeeded")
        assert line.broken > 10
        assert_same(ground, undisturbed, document, gaps=True)
        assert_nothing_left(ground, "s3-breaks")
