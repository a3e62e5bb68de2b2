"""Workers are shared between namespaces: nobody's slow stores, and nobody's thousands of Experiments, cost others their
passes; and an operator whose passes hang says so."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from misstep.store.bounded import Limits
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.controller import controller
from misstep_operator.controller.controller import Controller
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.controller.workqueue import FairQueue
from misstep_operator.metrics import Metrics
from misstep_operator.stores.reader import StoreReader
from tests.operator.test_reconciler import SETTINGS, Held, until
from tests.security import hostile_stores as h
from tests.store import servers

NAMES = st.tuples(st.sampled_from("abcd"), st.sampled_from("123456789"))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "take", "end"]), NAMES), max_size=200)


@settings(deadline=None)
@given(workers=st.integers(1, 20), steps=STEPS)
def test_whatever_happens_turns_and_shares_are_kept(workers: int, steps: list[tuple[str, tuple[str, str]]]) -> None:
    queue, waiting, working = FairQueue(workers), dict[tuple[str, str], int](), list[tuple[str, str]]()
    again = set[tuple[str, str]]()
    for now, (step, item) in enumerate(steps):
        if step == "add":
            queue.add(item, now)
            if item in working:
                again.add(item)
            else:
                waiting.setdefault(item, now)
        elif step == "take":
            busy, free = Counter(namespace for namespace, _ in working), workers - len(working)
            may = {namespace for namespace, _ in waiting if busy[namespace] < free}
            taken = queue.take(now)
            assert (taken is None) == (not may), "whoever may have a worker gets one"
            if taken is not None:
                namespace = taken[0]
                assert namespace in may
                assert taken not in working, "one worker each"
                assert waiting[taken] == min(at for each, at in waiting.items() if each[0] == namespace), "in order"
                del waiting[taken]
                working.append(taken)
        elif item in working:
            queue.end(item, now)
            working.remove(item)
            if item in again:
                again.discard(item)
                waiting[item] = now
        assert len(working) <= workers
        assert len(queue) == len(waiting)
        assert queue.oldest_waiting(now) == max((now - at for at in waiting.values()), default=0)


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=6), workers=st.integers(2, 16))
def test_namespaces_that_all_wait_take_turns(counts: list[int], workers: int) -> None:
    """However many one has asked for, and however early."""
    queue = FairQueue(workers)
    for namespace, count in enumerate(counts):
        for number in range(count):
            queue.add((str(namespace), str(number)), 0.0)
    order = []
    for _ in range(sum(counts)):
        taken = queue.take(0.0)
        assert taken is not None
        order.append(int(taken[0]))
        queue.end(taken, 0.0)
    left = list(counts)
    while order:
        turn = [namespace for namespace, count in enumerate(left) if count]
        assert sorted(order[: len(turn)]) == turn, "one each before anybody has a second"
        order = order[len(turn) :]
        left = [max(0, count - 1) for count in left]


@pytest.mark.parametrize("greedy", [1, 2, 3, 4])
def test_namespaces_whose_passes_never_end_leave_a_worker_for_another(greedy: int) -> None:
    queue = FairQueue(controller.WORKERS)
    for number in range(1000):
        for namespace in range(greedy):
            queue.add((f"greedy-{namespace}", str(number)), 0.0)
    while queue.take(0.0) is not None:
        pass
    queue.add(("other", "first"), 1.0)
    assert queue.take(1.0) == ("other", "first")


class Looking(Held):
    """A cluster whose Experiments' passes are looks at their stores."""

    def __init__(self, stores: StoreReader, endpoints: dict[tuple[str, str], str]) -> None:
        super().__init__()
        self.stores, self.endpoints = stores, endpoints
        self.threads = ThreadPoolExecutor(controller.WORKERS)
        self.made: list[tuple[str, str]] = []

    async def reconcile(self, namespace: str, name: str) -> None:
        storage = h.at(self.endpoints[namespace, name], f"s3://{servers.BUCKET}/{namespace}-{name}")
        looking = asyncio.get_running_loop().run_in_executor(
            self.threads, self.stores.read, h.plan_at(storage), (), namespace
        )
        await looking
        self.made.append((namespace, name))


def test_a_namespace_of_stores_that_drip_leaves_the_others_their_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty Experiments, all of a server that sends a byte every half second and is listed."""
    servers.credentials(monkeypatch)
    with h.serving(h.dripping) as slow, h.serving(h.nothing) as fast:
        stores = StoreReader(h.listing(h.entry(slow.endpoint), h.entry(fast.endpoint)), Limits(seconds=4.0))
        ends = {("evil", str(number)): slow.endpoint for number in range(40)} | {("good", "one"): fast.endpoint}

        async def run() -> float:
            looking = Looking(stores, ends)
            operator = Controller(cast(KubernetesApi, looking), cast(Reconciler, looking), SETTINGS, Metrics())
            workers = [asyncio.create_task(operator._work()) for _ in range(controller.WORKERS)]
            for namespace, name in ends:
                if namespace == "evil":
                    operator.enqueue(namespace, name)
            await asyncio.sleep(0.5)
            began = time.monotonic()
            operator.enqueue("good", "one")
            await until(lambda: ("good", "one") in looking.made)
            took = time.monotonic() - began
            for worker in workers:
                worker.cancel()
            return took

        assert asyncio.run(run()) < 3.5, "less than one look at a store that drips"


def test_a_pass_that_hangs_fails_the_health_and_shows_in_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody noticed an Experiment that made passes hang: the resync continued."""

    class Hangs:
        async def reconcile(self, namespace: str, name: str) -> None:
            await asyncio.Event().wait()

    async def run() -> None:
        metrics = Metrics()
        operator = Controller(cast(KubernetesApi, Held()), cast(Reconciler, Hangs()), SETTINGS, metrics)
        workers = [asyncio.create_task(operator._work()) for _ in range(2)]
        for name in ("first", "second", "third"):
            operator.enqueue("ns", name)
        await asyncio.sleep(0.01)
        assert operator.alive
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + controller.MAX_RECONCILE_SECONDS)
        operator.last_list = time.monotonic()
        assert not operator.alive
        ages = {
            sample.labels["state"]: sample.value
            for family in metrics.registry.collect()
            for sample in cast(Any, family).samples
            if sample.name == "misstep_oldest_reconcile_seconds"
        }
        assert ages["working"] >= controller.MAX_RECONCILE_SECONDS
        assert ages["waiting"] >= controller.MAX_RECONCILE_SECONDS
        assert b"misstep_oldest_reconcile_seconds" in generate_latest(metrics.registry)
        for worker in workers:
            worker.cancel()

    asyncio.run(run())
