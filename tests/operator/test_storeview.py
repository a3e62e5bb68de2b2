"""What the operator reads of a store."""

from __future__ import annotations

from pathlib import Path

from misstep.artifacts import manifest as m
from misstep.artifacts.store import open_store
from misstep.plan.frozen import Storage
from misstep.plan.planner import Plan
from misstep_operator.storeview import Stores
from tests.operator.world import PLAN


def test_accuracies_come_with_the_report_and_are_read_once(tmp_path: Path) -> None:
    storage = Storage(uri=tmp_path.as_uri())
    plan = Plan(experiment="e", stages=tuple(stage.model_copy(update={"storage": storage}) for stage in PLAN.stages))
    stores = Stores()
    assert stores.look(plan, []).accuracies == {}
    store, cell = open_store(storage), {"arm": "dpo", "size": "100", "accuracy": 0.25, "relation": "exactly"}
    receipt = m.Receipt(block=0, blocks=1, parts=(), summary={"cells": [cell]}, tools={}, seconds=0.0)
    m.put_receipt(store, plan.report.key, receipt)
    m.commit(store, plan.report, 1)
    assert stores.look(plan, []).accuracies == {("dpo", "100"): 0.25}
    store.put(f"{plan.report.key}/manifest.json", b"no manifest")
    assert stores.look(plan, []).accuracies == {("dpo", "100"): 0.25}
