"""What the operator reads of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts.progress import Heartbeat
from misstep.plan.planner import Plan
from misstep.store.base import UnreachableError
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep_operator.stores import reader
from misstep_operator.stores.reader import StoreReader
from misstep_operator.stores.trust import ListedStore, Trust
from tests.operator.world import PLAN
from tests.store import servers


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.own_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


def listed(endpoint: str, uri: str = f"s3://{servers.BUCKET}") -> Trust:
    return Trust((ListedStore(uri=uri, endpoint=endpoint, region="us-east-1", path_style=True, namespaces=("*",)),))


def plan_in(storage: Storage) -> Plan:
    return Plan(experiment="e", stages=tuple(stage.model_copy(update={"storage": storage}) for stage in PLAN.stages))


def test_accuracies_come_with_the_report_and_are_read_once(endpoint: str) -> None:
    storage = servers.s3_storage(endpoint, "accuracies")
    plan, stores = plan_in(storage), StoreReader(listed(endpoint))
    assert stores.read(plan, []).accuracies == {}
    store, cell = open_store(storage), {"arm": "dpo", "size": "100", "accuracy": 0.25, "relation": "exactly"}
    receipt = m.Receipt(block=0, blocks=1, parts=(), summary={"cells": [cell]}, tools={}, seconds=0.0)
    m.put_receipt(store, plan.report.key, receipt)
    m.commit(store, plan.report, 1)
    assert stores.read(plan, [plan.report.key]).accuracies == {("dpo", "100"): 0.25}
    store.put(f"{plan.report.key}/manifest.json", b"no manifest")
    assert stores.read(plan, []).accuracies == {("dpo", "100"): 0.25}


def test_policies_that_know_their_problems_by_heart_are_warned_of_and_read_once(endpoint: str) -> None:
    storage = servers.s3_storage(endpoint, "policies")
    plan = plan_in(storage)
    stores, store, sft = StoreReader(listed(endpoint)), open_store(storage), plan.stage("sft-d100-s0")
    scores = {"validation_problems": 500, "validation_correct": 150, "train_problems": 200, "train_correct": 174}
    receipt = m.Receipt(block=0, blocks=1, parts=(), summary={"policy": scores}, tools={}, seconds=0.0)
    assert stores.read(plan, [sft.key]).warnings == {}
    m.put_receipt(store, sft.key, receipt)
    m.commit(store, sft, 1)
    warnings = stores.read(plan, [sft.key]).warnings
    assert warnings.keys() == {sft.key}
    assert warnings[sft.key].startswith("The policy of 100 problems (seed 0) solves 87% of its own training problems")
    store.put(f"{sft.key}/manifest.json", b"no manifest")
    assert stores.read(plan, []).warnings == warnings


def test_what_is_remembered_of_stores_does_not_grow_without_end(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CONNECTIONS", 2)
    monkeypatch.setattr(reader, "_REPORTS", 2)
    monkeypatch.setattr(reader, "_POLICIES", 2)
    now = 0.0
    stores = StoreReader(listed(endpoint), clock=lambda: now)
    for number in range(4):
        storage = servers.s3_storage(endpoint, str(number))
        plan = plan_in(storage)
        m.put_receipt(
            open_store(storage), plan.report.key, m.Receipt(block=0, blocks=1, parts=(), tools={}, seconds=0.0)
        )
        m.commit(open_store(storage), plan.report, 1)
        assert stores.read(plan, []).committed == {plan.report.key}
        assert stores._known.keys() == {(storage, plan.report.key)}, "those before have expired"
        open_store(storage).delete(f"{plan.report.key}/manifest.json")
        now += reader._REMEMBER_SECONDS - 1
        assert stores.read(plan, []).committed == {plan.report.key}, "remembered"
        now += 1
    assert stores.read(plan, []).committed == set()
    assert len(stores._known) == 1
    assert stores._opened.cache_info().currsize == stores._remembered.cache_info().currsize == 2


def test_a_store_that_is_down_is_asked_now_and_then_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Experiments that use it would take all workers from those whose stores are up."""
    now, asked, up = 0.0, 0, False

    class Watch:
        def committed_among(self, keys: Sequence[str]) -> frozenset[str]:
            nonlocal now, asked
            asked += 1
            if up:
                return frozenset()
            assert asked not in range(2, 6) or stores.read(PLAN, []).error == "no answer", "meanwhile others are told"
            now += 20.0
            raise UnreachableError("no answer")

    monkeypatch.setattr(reader, "_open", lambda storage: lambda budget: Watch())
    stores = StoreReader(Trust(), clock=lambda: now)
    while now < 400:
        assert stores.read(PLAN, []).error == "no answer"
        now += 1.0
    assert asked == 5, "20 s in 80"
    up = True
    now += reader._MAX_PAUSE_SECONDS
    assert stores.read(PLAN, []).error == ""
    up = False
    assert stores.read(PLAN, []).error == "no answer"
    assert asked == 7, "what was once up is asked at once"


def test_a_key_is_asked_for_when_its_stage_runs_or_could(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may have hundreds, and each is a request; others' work is seen after some minutes at most."""
    now, there, asked = 0.0, set[str](), list[str]()

    class Watch:
        def committed_among(self, keys: Sequence[str]) -> frozenset[str]:
            asked.extend(keys)
            return frozenset(there & set(keys))

        def heartbeats(self, key: str, shards: int, since: float) -> list[Heartbeat]:
            return []

        def summary(self, key: str) -> dict[str, object]:
            return {}

    monkeypatch.setattr(reader, "_open", lambda storage: lambda budget: Watch())
    stores, keys = StoreReader(Trust(), clock=lambda: now), [stage.key for stage in PLAN.stages]
    first, second, last = keys[0], keys[1], keys[-1]

    def look(*running: str) -> set[str]:
        asked.clear()
        return set(stores.read(PLAN, running).committed)

    assert look() == set()
    assert asked == keys, "at first all"
    assert look() == set()
    assert asked == [first]
    there |= {first, second}
    assert look(last) == {first, second}
    assert {first, second, last} <= set(asked)
    assert len(asked) == len(set(asked)) < len(keys)
    there |= {last}
    assert look() == {first, second}
    now += reader._REMEMBER_SECONDS
    there -= {first}
    assert look() == {second, last}
    assert asked == keys
