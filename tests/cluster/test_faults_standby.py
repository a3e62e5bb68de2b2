"""Two operators, one Lease: the one that works is killed, ended, cut off or frozen, and the other takes over."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from misstep_operator.controller.election import LEASE_SECONDS, STOP_SECONDS
from tests.cluster.faults import ALL, Undisturbed, assert_nothing_left, assert_same, operator, small
from tests.cluster.operating import LEASE, Operating
from tests.cluster.proxies import Middleman, running
from tests.cluster.test_faults_api import api_server
from tests.eventually import eventually
from tests.sampling import SEED

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]
TAKEOVER_SECONDS = 20.0


@pytest.fixture
def pair(ground: Operating) -> Iterator[Operating]:
    """A leading operator and a standby."""
    with operator(ground, MISSTEP_LEASE=LEASE):
        eventually(lambda: len(ground.leaders()) == 1, 60, ground.log)
        ground.start_operator(MISSTEP_LEASE=LEASE)
        eventually(lambda: ground.healthy(ground.operators[-1].pid), 60, ground.log)
        yield ground


def end_leader(world: Operating, number: int) -> None:
    """Send the working operator a signal that ends it."""
    (leader,) = world.leaders()
    leader.send_signal(number)
    leader.wait(20)
    world.operators.remove(leader)


def takeover(world: Operating) -> float:
    """Wait until there is a leader again; return after how many seconds."""
    began = time.monotonic()
    eventually(lambda: len(world.leaders()) == 1, TAKEOVER_SECONDS, world.log)
    return time.monotonic() - began


@pytest.mark.faults(seconds=110)
def test_the_leader_is_killed_at_random_moments(pair: Operating, undisturbed: Undisturbed) -> None:
    """At twenty moments of the stages of six seeds, of as many Experiments as these take; in a sample, at three of one
    seed."""
    moments, chance, took = 20 if ALL else 3, random.Random(os.environ[SEED]), []
    documents: list[dict[str, Any]] = []

    def begin() -> None:
        name = f"leader-killed-{len(documents)}"
        uri = small(pair, name)["spec"]["storage"]["uri"]
        documents.append(pair.experiment(name, storage__uri=uri, seeds=list(range(6)) if ALL else [0]))
        pair.apply(documents[-1])

    begin()
    for _ in range(moments):
        if pair.status(documents[-1]["metadata"]["name"]).get("state") == "Succeeded":
            begin()
        time.sleep(chance.uniform(0.0, 6.0))
        end_leader(pair, signal.SIGKILL)
        took.append(takeover(pair))
        standby = pair.start_operator(MISSTEP_LEASE=LEASE).pid
        eventually(lambda pid=standby: pair.healthy(pid), 60)  # type: ignore[misc]
    print(f"{moments} takeovers: {min(took):.1f} to {max(took):.1f} s after the kill")
    for document in documents:
        pair.wait_for_state(document["metadata"]["name"], "Succeeded", 900)
        assert_same(pair, undisturbed, document)
        assert_nothing_left(pair, document["metadata"]["name"])


@pytest.mark.faults(seconds=40)
def test_a_leader_that_ends_in_order_is_followed_at_once(pair: Operating) -> None:
    document = pair.experiment("idle", suspend=True)
    pair.apply(document)
    pair.wait("idle", "suspension", lambda status: status.get("state") == "Suspended")
    (leader,), series = pair.leaders(), 'misstep_experiment_stages{experiment="idle"'
    (standby,) = [each for each in pair.operators if each is not leader]
    eventually(lambda: series in pair.metrics(leader.pid), 30)
    assert "misstep_operator_leader 0.0" in pair.metrics(standby.pid)
    assert series not in pair.metrics(standby.pid), "Prometheus would count it twice"
    assert pair.healthy(standby.pid)
    end_leader(pair, signal.SIGTERM)
    took = takeover(pair)
    print(f"followed after {took:.1f} s")
    assert took < LEASE_SECONDS / 2, "it was given back"
    eventually(lambda: series in pair.metrics(standby.pid), 30)
    pair.kubectl("delete", "experiment", "idle")


@pytest.mark.faults(seconds=60)
@pytest.mark.parametrize("how", ["silent", "refused"])
def test_a_leader_that_is_cut_off_stops_before_another_works(
    ground: Operating, undisturbed: Undisturbed, how: str
) -> None:
    """Its connections fall silent, or break; the other one's do not."""
    url, trust = api_server(ground)
    proxy, cut = Middleman(url, trust=trust), asyncio.Event()

    async def cut_off(request: web.Request) -> web.StreamResponse | None:
        if proxy.counts.get("cut"):
            if how == "silent":
                await cut.wait()
            assert request.transport is not None
            request.transport.abort()
        return None

    proxy.judge = cut_off
    name = f"cut-off-{how}"
    document = small(ground, name)
    with running(proxy) as port, operator(ground, f"http://127.0.0.1:{port}", MISSTEP_LEASE=LEASE):
        eventually(lambda: len(ground.leaders()) == 1, 60, ground.log)
        (first,) = ground.operators
        second = ground.start_operator(MISSTEP_LEASE=LEASE)
        eventually(lambda: ground.healthy(second.pid), 60)
        ground.apply(document)
        ground.wait(name, "first stage", lambda status: status.get("completed", 0) >= 1)
        proxy.note("cut")
        began, stopped = time.monotonic(), 0.0
        while second not in (now := ground.leaders()):
            assert time.monotonic() - began < TAKEOVER_SECONDS, ground.log()[-4000:]
            if first not in now and not stopped:
                stopped = time.monotonic() - began
            time.sleep(0.1)
        assert now == [second], "two work at once"
        print(f"stopped {stopped:.1f} s after it was cut off; the other worked after {time.monotonic() - began:.1f} s")
        assert 0 < stopped < STOP_SECONDS + 3
        assert ground.healthy(first.pid), "a restart would change nothing"
        proxy.counts.clear()
        ground.wait_for_state(name, "Succeeded")
        assert ground.leaders() == [second]
        assert first.poll() is None
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, name)


@pytest.mark.faults(seconds=60)
def test_a_leader_that_is_frozen_and_resumed_does_no_harm(pair: Operating, undisturbed: Undisturbed) -> None:
    """For a moment two believe that they lead: the Lease cannot help it, and the names of Jobs make it harmless."""
    document = small(pair, "frozen")
    pair.apply(document)
    pair.wait("frozen", "first stage", lambda status: status.get("completed", 0) >= 1)
    (leader,) = pair.leaders()
    (standby,) = [each for each in pair.operators if each is not leader]
    leader.send_signal(signal.SIGSTOP)
    eventually(lambda: "\nmisstep_operator_leader 1.0" in pair.metrics(standby.pid), TAKEOVER_SECONDS, pair.log)
    leader.send_signal(signal.SIGCONT)
    eventually(lambda: pair.leaders() == [standby], STOP_SECONDS + 3, pair.log)
    pair.wait_for_state("frozen", "Succeeded")
    assert all(each.poll() is None for each in pair.operators)
    assert_same(pair, undisturbed, document)
    assert_nothing_left(pair, "frozen")
