"""Experiments wait for each other's Jobs only where they trust each other, only while pods run, and not for ever.

The tenant copies another team's spec, so that its Jobs have the same keys; they would hold up the other team.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from misstep.plan.kinds import IMAGES
from misstep.spec.cluster import Cluster as ClusterSpec
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.jobs.job import make_job
from misstep_operator.metrics import Metrics
from misstep_operator.observed import ComputedElsewhere, ExperimentView
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import StoreReader
from misstep_operator.stores.trust import Trust
from misstep_operator.timestamps import to_seconds
from tests.operator.world import PLAN, World
from tests.security import hostile_stores as h

FIRST = PLAN.stages[0]
LISTED = {"uri": "s3://bucket", "endpoint": None}


def job_of(namespace: str, *, ready: int = 0, age: float = 600.0, **changes: Any) -> dict[str, Any]:
    """Another Experiment's Job for the first stage, as the API server has it."""
    settings = Settings(images=dict.fromkeys(IMAGES, "i"))
    view = ExperimentView(namespace, "squat", "other-uid", 1, False, {})
    job = make_job(view, FIRST, 1, ClusterSpec(), [], settings, {})
    made = datetime.fromtimestamp(datetime.now(UTC).timestamp() - age, UTC)
    job["metadata"]["creationTimestamp"] = made.strftime("%Y-%m-%dT%H:%M:%SZ")
    job["status"] = {"ready": ready, "active": 1}
    for path, value in changes.items():
        part, _, field = path.partition("__")
        job[part][field] = value
    return job


class Jobs:
    """Answers with Jobs."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self.jobs, self.asked = jobs, list[str | None]()

    async def jobs_with_keys(self, keys: list[str], storage: str, within: str | None = None) -> list[dict[str, Any]]:
        self.asked.append(within)
        return [job for job in self.jobs if within in (None, job["metadata"]["namespace"])]


def taken(trust: Trust, *jobs: dict[str, Any]) -> dict[str, ComputedElsewhere]:
    settings = Settings(images={}, trust=trust, share_within_seconds=500.0, share_between_seconds=50.0)
    reconciler = Reconciler(cast(KubernetesApi, Jobs(*jobs)), StoreReader(trust), settings, Metrics())
    view = ExperimentView("team-b", "victim", "uid", 1, False, {})
    return asyncio.run(reconciler._computed_elsewhere(view, PLAN, [FIRST.key]))


SHARED = h.listing(h.entry(None, "s3://bucket", "team-a", "team-b", share_work=True))


@pytest.mark.parametrize(
    "trust",
    [
        Trust(),
        h.listing(h.entry(None, "s3://bucket")),
        h.listing(h.entry(None, "s3://bucket", "team-b", share_work=True)),
        h.listing(h.entry(None, "s3://other", "*", share_work=True)),
    ],
    ids=["no list", "not shared", "shared by others", "another store"],
)
def test_jobs_of_another_namespace_hold_nobody_up_unless_an_administrator_says_so(trust: Trust) -> None:
    assert taken(trust, job_of("team-a", ready=1)) == {}
    assert taken(trust, job_of("team-b", ready=1)) == {FIRST.key: ComputedElsewhere("team-b/squat", 500.0)}, (
        "one's own do"
    )


def test_where_an_administrator_says_so_work_is_shared_for_a_while() -> None:
    assert taken(SHARED, job_of("team-a", ready=1)) == {FIRST.key: ComputedElsewhere("team-a/squat", 50.0)}
    assert taken(SHARED, job_of("team-c", ready=1)) == {}
    both = job_of("team-a", ready=1), job_of("team-b", ready=1)
    assert (
        taken(SHARED, *both) == taken(SHARED, *reversed(both)) == {FIRST.key: ComputedElsewhere("team-b/squat", 500.0)}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"ready": 0},
        {"spec__suspend": True, "ready": 1},
        {"metadata__deletionTimestamp": "2026-01-01T00:00:00Z", "ready": 1},
        {"metadata__ownerReferences": [], "ready": 1},
        {"metadata__ownerReferences": [{"kind": "Deployment", "uid": "x", "controller": True}], "ready": 1},
        {"status__conditions": [{"type": "Failed", "status": "True"}], "ready": 1},
        {"status__conditions": [{"type": "Complete", "status": "True"}], "ready": 1},
        {"metadata__creationTimestamp": "no date"},
    ],
    ids=str,
)
@pytest.mark.parametrize("namespace", ["team-a", "team-b"])
def test_a_job_whose_pods_do_not_run_is_not_waited_for(namespace: str, changes: dict[str, Any]) -> None:
    """Unschedulable by a node selector that nothing has, suspended, nobody's, or over."""
    assert taken(SHARED, job_of(namespace, **changes)) == {}


@pytest.mark.parametrize("namespace", ["team-a", "team-b"])
def test_a_young_job_is_given_time_for_its_pods(namespace: str) -> None:
    """Else two Experiments that are applied together would compute everything twice."""
    assert taken(SHARED, job_of(namespace, age=20.0)).keys() == {FIRST.key}


def test_others_jobs_are_not_even_listed_where_nothing_is_shared() -> None:
    jobs = Jobs()
    reconciler = Reconciler(cast(KubernetesApi, jobs), StoreReader(Trust()), Settings(images={}), Metrics())
    asyncio.run(reconciler._computed_elsewhere(ExperimentView("team-b", "e", "u", 1, False, {}), PLAN, [FIRST.key]))
    assert jobs.asked == ["team-b"]


def test_whoever_waits_starts_its_own_job_after_the_bound_however_many_come() -> None:
    """One squatting Job after the other: the time is counted from the first, in the waiting Experiment's own status."""
    world = World(elsewhere={FIRST.key: ComputedElsewhere("team-a/squat-0", 100.0)})
    world.settle()
    began = world.entry(FIRST.name)["waitStartTime"]
    assert world.status["state"] == "Waiting"
    waited = 0
    while not world.active():
        waited += 1
        assert waited < 20, "for ever"
        world.elsewhere = {FIRST.key: ComputedElsewhere(f"team-a/squat-{waited}", 100.0)}
        world.step()
        assert world.entry(FIRST.name).get("waitStartTime") == began
    assert 5 < waited < 12
    start = to_seconds(began)
    assert start is not None
    assert world.now - start >= 100
    world.step()
    assert len(world.created) == 1, "and no second one"


def test_the_wait_is_not_begun_anew_by_an_attempt_that_failed() -> None:
    world = World(elsewhere={FIRST.key: ComputedElsewhere("team-a/squat", 30.0)})
    while not world.active():
        world.step()
    world.fail(world.active()[0])
    world.step()
    assert len(world.active()) == 1
    assert world.entry(FIRST.name)["attempt"] == 2


def test_a_since_that_a_hand_has_written_breaks_nothing() -> None:
    for odd in (
        "x",
        -1,
        10**30,
        None,
        True,
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
    ):
        world = World(elsewhere={FIRST.key: ComputedElsewhere("other", 100.0)})
        world.settle()
        world.status = {
            **world.status,
            "stages": [{**entry, "waitStartTime": odd} for entry in world.status["stages"]],
        }
        for _ in range(15):
            world.step()
        assert world.created
        assert replace(world.observe()).experiment.is_current
