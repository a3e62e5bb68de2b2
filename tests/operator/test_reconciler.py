"""Who gets a pass and when, and what is remembered of whom: with an API server that only holds objects."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from misstep.plan import configmap
from misstep.plan.planner import Plan
from misstep_operator.api.kubernetes import KubernetesApi, Refused
from misstep_operator.controller.controller import Controller
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.metrics import Metrics
from misstep_operator.observed import ExperimentView
from misstep_operator.planning import configmaps as p
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import StoreReader
from tests.operator.test_planning import body
from tests.operator.world import PLAN

SETTINGS = Settings(images={}, resync_seconds=0.05, identity="me")


class Held:
    """Holds Experiments, and does nothing with what is written."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[str, Any]] = {}
        self.told: list[str] = []
        self.plans_read = 0
        self.namespaces: tuple[str, ...] = ("*",)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def add(self, name: str, uid: str, managers: tuple[str, ...] = (), **status: Any) -> None:
        fields = [{"manager": m, "subresource": "status", "time": "2999-01-01T00:00:00Z"} for m in managers]
        metadata = {"namespace": "ns", "name": name, "uid": uid, "generation": 1, "resourceVersion": "1"}
        self.bodies[name] = {"metadata": {**metadata, "managedFields": fields}, "spec": {}, "status": status}

    def add_idle(self, name: str) -> None:
        ended = [{"type": "Failed", "status": "True"}]
        self.add(name, name, observedGeneration=1, state="Failed", conditions=ended)

    async def experiments(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        if namespace == "lost":
            raise ConnectionError("no longer ours")
        found = list(self.bodies.values())
        if self.meanwhile is not None:
            await self.meanwhile()
        for each in found:
            yield each

    async def experiment(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self.bodies.get(name)

    async def jobs(self, namespace: str, name: str) -> list[dict[str, Any]]:
        return []

    async def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        self.plans_read += 1
        return {"binaryData": configmap.pack(PLAN)}

    async def patch_status(self, *_: Any) -> bool:
        return True

    async def post_event(self, view: ExperimentView, reason: str, message: str, *, warning: bool) -> None:
        self.told.append(reason)


def over(held: Held) -> tuple[Reconciler, Metrics]:
    metrics = Metrics()
    return Reconciler(cast(KubernetesApi, held), StoreReader(), SETTINGS, metrics), metrics


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def test_an_experiment_whose_pass_takes_long_has_one_worker_and_is_seen_again_after_it() -> None:
    class Slow:
        def __init__(self) -> None:
            self.began: Counter[str] = Counter()
            self.end = asyncio.Event()

        async def reconcile(self, namespace: str, name: str) -> None:
            self.began[name] += 1
            if name == "slow":
                await self.end.wait()

    async def run() -> None:
        slow = Slow()
        operator = Controller(cast(KubernetesApi, Held()), cast(Reconciler, slow), SETTINGS, Metrics())
        workers = [asyncio.create_task(operator._work()) for _ in range(2)]
        for turn in range(1, 6):
            operator.enqueue("ns", "slow")
            operator.enqueue("ns", "fast")
            await until(lambda turn=turn: slow.began["fast"] == turn)  # type: ignore[misc]
        assert slow.began["slow"] == 1
        slow.end.set()
        await until(lambda: slow.began["slow"] == 2)
        await asyncio.sleep(0.1)
        assert slow.began == {"slow": 2, "fast": 5}, "asked for five times, four of them during one pass"
        operator.enqueue("ns", "slow")
        await until(lambda: slow.began["slow"] == 3)
        for worker in workers:
            worker.cancel()

    asyncio.run(run())


def test_a_resync_forgets_what_is_gone_and_not_what_appears_while_the_list_is_read() -> None:
    async def run() -> None:
        held = Held()
        reconciler, metrics = over(held)
        operator = Controller(cast(KubernetesApi, held), reconciler, SETTINGS, metrics)
        for name in ("gone", "stays"):
            held.add_idle(name)
            await reconciler.reconcile("ns", name)
        del held.bodies["gone"]  # and no watch says so
        lists = 0

        async def appears() -> None:
            nonlocal lists
            lists += 1
            if lists == 1:
                held.add_idle("new")
                await reconciler.reconcile("ns", "new")

        held.meanwhile = appears
        tasks = [asyncio.create_task(operator._work())]
        known: list[set[tuple[str, str]]] = []
        metrics.resync.set_to_current_time = lambda: known.append(reconciler.known())  # type: ignore[method-assign]
        tasks.append(asyncio.create_task(operator._resync()))
        await until(lambda: len(known) == 3)
        assert all(("ns", "new") in each for each in known), "it is idle: no other pass would bring it back"
        assert reconciler.known() == metrics.known() == {("ns", "stays"), ("ns", "new")}
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_a_namespace_that_is_lost_holds_up_no_other() -> None:
    """As where it was deleted, and the operator's rights in it."""

    async def run() -> None:
        held = Held()
        reconciler, metrics = over(held)
        held.namespaces = ("lost", "ns")
        operator = Controller(cast(KubernetesApi, held), reconciler, SETTINGS, metrics)
        held.add("e", "uid")
        before = operator.last_list
        tasks = [asyncio.create_task(operator._work()), asyncio.create_task(operator._resync())]
        await until(lambda: reconciler.known() == {("ns", "e")} and operator.last_list > before)
        assert operator.alive
        assert not metrics.resync._value.get(), "an alert is to say so"
        for task in tasks:
            task.cancel()

    asyncio.run(run())


def test_another_operator_is_told_of_once_for_each_experiment_of_a_name() -> None:
    async def run() -> None:
        held = Held()
        reconciler, metrics = over(held)
        told = []
        for uid in ("first", "first", "second"):
            held.add("e", uid, managers=("misstep-operator/other",))
            await reconciler.reconcile("ns", "e")
            told.append(held.told.count("AnotherOperator"))
        assert told == [1, 1, 2]
        assert reconciler.known() == {("ns", "e")}
        del held.bodies["e"]
        await reconciler.reconcile("ns", "e")
        assert reconciler.known() == metrics.known() == set()

    asyncio.run(run())


def test_a_plan_that_the_api_server_does_not_keep_is_said_and_tried_again() -> None:
    class Full(Held):
        def __init__(self) -> None:
            super().__init__()
            self.statuses: list[dict[str, Any]] = []

        async def config_map(self, namespace: str, name: str) -> Any:
            return None

        async def create(self, body: dict[str, Any]) -> bool:
            raise Refused("exceeded quota: no-more")

        async def patch_status(self, *given: Any) -> bool:
            self.statuses.append(given[-1])
            return True

    async def run() -> None:
        held = Full()
        reconciler, metrics = over(held)
        document = body()
        held.add("e", "uid")
        held.bodies["e"]["metadata"] |= {"name": "e", "namespace": "ns"}
        held.bodies["e"] |= {"apiVersion": document["apiVersion"], "kind": "Experiment", "spec": document["spec"]}
        await reconciler.reconcile("ns", "e")
        (status,) = held.statuses
        assert status["state"] == "Waiting"
        assert "ConfigMap" in status["message"]
        assert "exceeded quota: no-more" in status["message"]
        assert metrics.known() == {("ns", "e")}

    asyncio.run(run())


def test_plans_of_a_few_more_than_are_remembered_are_seldom_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, most = set(), 64
    parse, packed = configmap.parse, configmap.pack(PLAN)

    def parsed(text: bytes) -> Plan:
        threads.add(threading.current_thread())
        return parse(text)

    monkeypatch.setattr(configmap, "parse", parsed)
    monkeypatch.setattr(p, "_CACHE_BYTES", most * len(configmap.inflate(packed)))

    async def run() -> int:
        held = Held()
        reconciler, _ = over(held)
        for _ in range(11):
            for each in range(most + 1):
                status = {"observedGeneration": 1, "planDigest": configmap.digest(packed)}
                view = ExperimentView("ns", "e", f"uid-{each}", 1, False, status)
                found = await reconciler._plans.get(view, cast(Any, None))
                assert isinstance(found, p.StoredPlan)
                assert found.plan == PLAN
        assert len(reconciler._plans._cached) == most
        return held.plans_read - most - 1

    assert asyncio.run(run()) < 5 * (most + 1), "in ten rounds, each in the same order"
    assert threading.main_thread() not in threads, "the event loop has others to look after"
