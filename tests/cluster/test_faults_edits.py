"""People: a status edited by hand, an Experiment edited or deleted while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.faults import (
    Undisturbed,
    assert_nothing_left,
    assert_same,
    at_least,
    operator,
    processes_of,
    small,
    store_of,
)
from tests.cluster.operating import Operating
from tests.cluster.world import stage_of
from tests.eventually import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]
Status = dict[str, Any]


def write_status(world: Operating, name: str, change: Callable[[Status], Status]) -> None:
    """Replace a status by hand; the operator may write it meanwhile, so that it is tried until it holds."""

    def write() -> bool:
        body = world.get(name)
        body["status"] = change(body["status"])
        try:
            world.kubectl("replace", "--subresource=status", "-f-", stdin=json.dumps(body))
        except Exception as error:  # noqa: BLE001 - a conflict, by its text
            assert "the object has been modified" in str(error), error
            return False
        return True

    eventually(write, 30)


def garbage(status: Status) -> Status:
    """What the schema allows and nobody means: other keys, counts below nothing, a phase long past."""
    entries = [
        {**entry, "state": "done", "attempt": 0, "ignoredAttempts": 9, "percent": 3} for entry in status["stages"]
    ]
    strange = {"name": "strange", "key": "sft-00000000000000000000", "kind": "sft", "state": "running", "attempt": 2}
    return {
        **status,
        "completed": 99,
        "progress": "far",
        "eta": "never",
        "stages": [*entries, strange],
        "conditions": [],
    }


def says_succeeded(status: Status) -> Status:
    return {**status, "state": "Succeeded", "completed": status["total"], "report": "s3://nowhere/report.html"}


def emptied(status: Status) -> Status:
    return {**status, "stages": []}


@pytest.mark.faults(seconds=35)
def test_a_status_is_edited_by_hand_while_it_runs_and_after(ground: Operating, undisturbed: Undisturbed) -> None:
    document = small(ground, "by-hand")
    with operator(ground):
        ground.apply(document)
        for done, change in (1, garbage), (2, emptied), (3, lambda _: {}):
            ground.wait("by-hand", f"{done} stages", at_least(done))
            write_status(ground, "by-hand", change)
        ground.wait_for_state("by-hand", "Succeeded")
        assert_same(ground, undisturbed, document)
        for change in garbage, emptied, lambda _: {}:
            write_status(ground, "by-hand", change)
            ground.wait_for_state("by-hand", "Succeeded", 60)
        time.sleep(3)
        assert_jobs_are_those_of_one_run(ground, "by-hand")
        assert_nothing_left(ground, "by-hand")


@pytest.mark.faults(seconds=35)
def test_a_hand_writes_succeeded_while_it_runs(ground: Operating, undisturbed: Undisturbed) -> None:
    document = small(ground, "no-success")
    with operator(ground):
        ground.apply(document)
        ground.wait("no-success", "2 stages", lambda status: status.get("completed", 0) >= 2)
        write_status(ground, "no-success", says_succeeded)
        ground.wait("no-success", "end", lambda status: "/no-success/report-" in status.get("report", ""))
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "no-success")


def assert_jobs_are_those_of_one_run(world: Operating, name: str) -> None:
    stages = [stage_of(job) for job in world.jobs(name).values()]
    assert len(stages) == len(set(stages))


@pytest.mark.faults(seconds=75)
def test_it_is_edited_while_it_runs(ground: Operating, undisturbed: Undisturbed) -> None:
    """First beta, then what everything depends on: Jobs of what is no longer wanted end each time."""
    dpo: dict[str, Any] = {
        "arms": [{"name": "sft", "method": "sft"}, {"name": "dpo", "method": "dpo", "pairs": "random"}]
    }
    first = small(ground, "edited", **dpo, problems__train__limit=48, training__dpo__beta="0.5")
    second = small(ground, "edited", **dpo, problems__train__limit=48)
    third = small(ground, "edited", **dpo)
    with operator(ground):
        ground.apply(first)
        ground.wait("edited", "sampling", lambda status: "test-sft" in status.get("runningStages", ""))
        trained = entry_of(ground, "edited", "sft-d32-s0")
        ground.apply(second)
        ground.wait("edited", "edit", lambda status: answers(ground, status, "edited"), 60)
        assert entry_of(ground, "edited", "sft-d32-s0")["key"] == trained["key"]
        assert entry_of(ground, "edited", "sft-d32-s0")["state"] == "done"
        ground.apply(third)
        ground.wait("edited", "edit", lambda status: answers(ground, status, "edited"), 60)
        assert entry_of(ground, "edited", "sft-d32-s0")["key"] != trained["key"]
        ground.wait("edited", "end", lambda s: answers(ground, s, "edited") and s["state"] == "Succeeded")
        assert_same(ground, undisturbed, third, gaps=True)
        assert_nothing_left(ground, "edited")


def answers(world: Operating, status: Status, name: str) -> bool:
    return bool(status.get("observedGeneration") == world.get(name)["metadata"]["generation"])


def entry_of(world: Operating, name: str, stage: str) -> dict[str, Any]:
    return next(entry for entry in world.status(name)["stages"] if entry["name"] == stage)


@pytest.mark.faults(seconds=45)
def test_it_is_deleted_while_it_runs_and_applied_again(ground: Operating, undisturbed: Undisturbed) -> None:
    """Deleted in the midst of the stage with shards: what is committed, and blocks with receipts, are used later."""
    document = small(ground, "deleted")
    with operator(ground):
        ground.apply(document)
        store, _ = store_of(ground, "deleted")
        eventually(lambda: any("/blocks/" in entry.path for entry in store.list("sample-")), 120)
        assert processes_of(ground, "deleted")
        assert_nothing_left(ground, "deleted")
        before = receipts(ground)
        ground.apply(document)
        ground.wait_for_state("deleted", "Succeeded")
        after = receipts(ground)
        assert before.items() <= after.items()  # none was written again
        assert_same(ground, undisturbed, document, jobs=None, gaps=True)
        assert_nothing_left(ground, "deleted")


def receipts(world: Operating) -> dict[str, float]:
    """Receipts of all blocks, and when each was written."""
    store, _ = store_of(world, "deleted")
    return {entry.path: entry.modified for entry in store.list("") if "/blocks/" in entry.path}
