"""Candidates for one Lease, on a real API server: one leads at a time, and another takes over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from misstep_operator.api.client import ApiUnavailable, RestClient
from misstep_operator.controller import election as e
from misstep_operator.controller.election import Election, Lease
from tests.cluster.api import Api as Direct
from tests.cluster.api import leases
from tests.cluster.test_api import connected

pytestmark = pytest.mark.cluster
PATH = f"{leases('default')}/test-election"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("LEASE_SECONDS", 3),
        ("STOP_SECONDS", 2.0),
        ("_RENEW_SECONDS", 0.5),
        ("_RETRY_SECONDS", 0.3),
        ("_STANDBY_SECONDS", 0.3),
        ("_ANSWER_SECONDS", 1.0),
    ):
        monkeypatch.setattr(e, name, seconds)


@pytest.fixture
def direct(control_plane: Path) -> Iterator[Direct]:
    api = Direct(control_plane)
    yield api
    api.call("DELETE", PATH)


class Candidate:
    """One that notes when it works."""

    def __init__(self, api: RestClient, identity: str, shifts: list[tuple[str, str]]) -> None:
        self.lease = Lease(api, "default", "test-election", identity)
        self.identity, self.shifts = identity, shifts
        self.task = asyncio.create_task(Election(self.lease).run(self.work))

    async def work(self) -> None:
        self.shifts.append((self.identity, "begins"))
        try:
            await asyncio.Event().wait()
        finally:
            self.shifts.append((self.identity, "ends"))


def run(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, test: Callable[[RestClient], Awaitable[None]]) -> None:
    async def with_api() -> None:
        async with connected(kubeconfig, monkeypatch) as api, asyncio.timeout(60):
            await test(api)

    asyncio.run(with_api())


async def until(met: Callable[[], bool], seconds: float = 20) -> float:
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def end(candidate: Candidate) -> None:
    candidate.task.cancel()
    await asyncio.wait({candidate.task})


def test_the_next_one_follows_at_once_where_the_first_ends(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch, direct: Direct
) -> None:
    async def test(api: RestClient) -> None:
        shifts: list[tuple[str, str]] = []
        first = Candidate(api, "first", shifts)
        await until(lambda: shifts == [("first", "begins")])
        second, third = Candidate(api, "second", shifts), Candidate(api, "third", shifts)
        before = direct.call("GET", PATH)["spec"]
        await asyncio.sleep(e.LEASE_SECONDS + 1)
        assert len(shifts) == 1, "while it is renewed nobody takes it"
        after = direct.call("GET", PATH)["spec"]
        assert before["acquireTime"] == after["acquireTime"] and before["renewTime"] < after["renewTime"]
        await end(first)
        assert await until(lambda: len(shifts) == 3) < 2
        assert shifts[1] == ("first", "ends")
        assert shifts[2][1] == "begins", "one of the two"
        spec = direct.call("GET", PATH)["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == (shifts[2][0], 1)
        for each in (second, third):
            await end(each)
        begun = [who for who, what in shifts if what == "begins"]
        assert shifts == [(who, what) for who in begun for what in ("begins", "ends")], "never two at a time"
        assert direct.call("GET", PATH)["spec"]["holderIdentity"] == ""

    run(control_plane, monkeypatch, test)


def test_one_that_cannot_renew_stops_before_another_begins_and_stands_by(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch, direct: Direct
) -> None:
    async def test(api: RestClient) -> None:
        shifts: list[tuple[str, str]] = []
        first = Candidate(api, "first", shifts)
        await until(lambda: shifts == [("first", "begins")])
        second = Candidate(api, "second", shifts)
        await asyncio.sleep(1)
        reached, cut = first.lease.hold, True

        async def hold() -> bool:
            if cut:
                raise ApiUnavailable("cut off")
            return await reached()

        first.lease.hold = first.lease.release = hold  # type: ignore[assignment,method-assign]
        stopped = await until(lambda: len(shifts) == 2)
        assert stopped < e.STOP_SECONDS + 0.5
        await until(lambda: len(shifts) == 3)
        assert shifts == [("first", "begins"), ("first", "ends"), ("second", "begins")]
        cut = False
        await asyncio.sleep(2)
        assert len(shifts) == 3
        for each in (first, second):
            await end(each)

    run(control_plane, monkeypatch, test)


def test_one_whose_lease_another_has_written_itself_into_stops(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch, direct: Direct
) -> None:
    async def test(api: RestClient) -> None:
        shifts: list[tuple[str, str]] = []
        first = Candidate(api, "first", shifts)
        await until(lambda: len(shifts) == 1)
        direct.call("PATCH", PATH, {"spec": {"holderIdentity": "by hand", "leaseDurationSeconds": 5}})
        assert await until(lambda: len(shifts) == 2) < e.STOP_SECONDS
        took = await until(lambda: len(shifts) == 3)
        assert 3.5 < took < 8, "once that has run out, after its own time"
        await end(first)

    run(control_plane, monkeypatch, test)


def test_work_that_fails_ends_the_candidate_and_gives_the_lease_back(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch, direct: Direct
) -> None:
    async def work() -> None:
        await asyncio.sleep(0.1)
        raise RuntimeError("a part of it failed")

    async def test(api: RestClient) -> None:
        lease = Lease(api, "default", "test-election", "first")
        with pytest.raises(RuntimeError, match="a part of it failed"):
            await Election(lease).run(work)
        assert direct.call("GET", PATH)["spec"]["holderIdentity"] == ""

    run(control_plane, monkeypatch, test)


def test_a_process_with_the_identity_of_a_dead_one_continues_at_once(
    control_plane: Path, monkeypatch: pytest.MonkeyPatch, direct: Direct
) -> None:
    """A container that is started again in its pod."""

    async def test(api: RestClient) -> None:
        spec: dict[str, Any] = {"holderIdentity": "pod", "leaseDurationSeconds": 3600}
        body = {"metadata": {"name": "test-election"}, "spec": spec}
        direct.call("POST", leases("default"), {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **body})
        assert await Lease(api, "default", "test-election", "pod").hold()
        assert not await Lease(api, "default", "test-election", "other").hold()

    run(control_plane, monkeypatch, test)
