"""A plan is used only if the operator made it: its digest is in the status before anything starts.

The attacker may write ConfigMaps in a namespace, and so put a plan of their own under the name that comes next.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from misstep.plan import configmap
from misstep.plan.planner import Plan
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.decision.decision import decide
from misstep_operator.jobs.job import owner_reference
from misstep_operator.observed import ExperimentView, Observed
from misstep_operator.planning import planning
from misstep_operator.planning.configmaps import PlanConfigMaps, StoredPlan
from tests.operator.test_planning import body
from tests.operator.world import PLAN

EXPERIMENT = planning.parse(body())
VIEW = ExperimentView("n", "e", "u", 1, False, {})
NAME = configmap.plan_name("e", "u", 1)


def honest() -> Plan:
    return planning.make_plan(EXPERIMENT, planning.find_externals(EXPERIMENT), {"model": None})


def greedy() -> Plan:
    """The same keys, with thousands of pods."""
    made = honest()
    return made.model_copy(update={"stages": tuple(s.model_copy(update={"shards": 900}) for s in made.stages)})


class Maps:
    """Holds ConfigMaps as the API server does."""

    def __init__(self, **maps: dict[str, Any]) -> None:
        self.maps = dict(maps)
        self.lost = 0

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self.maps.get(name)

    async def create(self, body: dict[str, Any]) -> bool:
        name = body["metadata"]["name"]
        if name in self.maps:
            return False
        self.maps[name] = body
        return True

    async def delete_config_map(self, namespace: str, name: str) -> None:
        self.maps.pop(name, None)


def planted(plan: Plan, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "binaryData": configmap.pack(plan)}


def plan_of(maps: Maps, view: ExperimentView = VIEW) -> Any:
    plans = PlanConfigMaps(cast(KubernetesApi, maps), lambda *_, **__: b"", ThreadPoolExecutor(1))
    return asyncio.run(plans.get(view, EXPERIMENT))


def noted(digest: str, generation: int = 1, **more: Any) -> ExperimentView:
    return replace(
        VIEW,
        status={"observedGeneration": generation, "planDigest": digest, "observedRetry": "", "message": "", **more},
    )


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize(
    "view", [VIEW, noted("", state="Waiting"), noted("0" * 64, generation=0)], ids=["new", "waits", "edited"]
)
def test_a_plan_under_the_next_name_is_not_taken(owned: bool, view: ExperimentView) -> None:
    owner = {"ownerReferences": [owner_reference(VIEW)]} if owned else {}
    found = plan_of(Maps(**{NAME: planted(greedy(), **owner)}), view)
    assert not isinstance(found, StoredPlan)
    assert NAME in str(found)
    assert "Delete it" in str(found)


def test_a_plan_in_the_place_of_one_that_was_deleted_is_not_taken() -> None:
    maps = Maps()
    made = plan_of(maps)
    maps.maps[NAME] = planted(greedy(), ownerReferences=[owner_reference(VIEW)])
    found = plan_of(maps, noted(made.digest))
    assert not isinstance(found, StoredPlan)
    assert NAME in str(found)
    del maps.maps[NAME]
    assert plan_of(maps, noted(made.digest)).plan == made.plan, "made again"


def test_what_cannot_be_a_plan_is_said_and_not_unpacked() -> None:
    for data in (None, {}, {configmap.PLAN_FILE: 5}, {configmap.PLAN_FILE: "!"}):
        found = plan_of(Maps(**{NAME: {"metadata": {}, "binaryData": data}}))
        assert not isinstance(found, StoredPlan)


def test_an_operator_that_ended_before_its_status_continues_with_its_plan() -> None:
    maps = Maps()
    first = plan_of(maps)
    assert maps.maps[NAME]["immutable"] is True
    again = plan_of(maps)
    assert (again.digest, again.plan) == (first.digest, first.plan)


def test_a_newer_operator_takes_the_plan_whose_digest_is_noted() -> None:
    """It would plan otherwise, and a running Experiment keeps its keys."""
    older = planted(PLAN)
    found = plan_of(Maps(**{NAME: older}), noted(configmap.digest(older["binaryData"])))
    assert found.plan == PLAN


def of_earlier_version(plan: Plan, **status: Any) -> ExperimentView:
    stages = [{"name": stage.name, "key": stage.key, "state": "running"} for stage in plan.stages]
    return replace(
        VIEW,
        status={"observedGeneration": 1, "retry": "", "why": "", "state": "Running", "stages": stages, **status},
    )


def test_an_experiment_that_an_earlier_version_has_begun_keeps_its_keys() -> None:
    owner = {"ownerReferences": [owner_reference(VIEW)]}
    older = honest()
    older = older.model_copy(update={"stages": older.stages[:-1]})  # as it would not be planned today
    found = plan_of(Maps(**{NAME: planted(older, **owner)}), of_earlier_version(older))
    assert found.plan == older
    # Nothing starts before the digest is noted.
    view = of_earlier_version(older)
    decision = decide(Observed(view, older, plan_digest=found.digest, now=1e9))
    assert decision.jobs_to_create == ()
    assert decision.status is not None
    assert decision.status["planDigest"] == found.digest
    assert decide(
        Observed(replace(view, status=decision.status), older, plan_digest=found.digest, now=1e9)
    ).jobs_to_create


@pytest.mark.parametrize(
    ("view", "plan", "owned"),
    [
        (of_earlier_version(honest()), greedy(), False),
        (of_earlier_version(honest()), PLAN, True),
        (of_earlier_version(honest(), planDigest=""), greedy(), True),
        (of_earlier_version(honest(), observedGeneration=0), greedy(), True),
        (of_earlier_version(honest(), stages=[]), greedy(), True),
    ],
    ids=["nobody's", "another plan", "not earlier", "another generation", "never begun"],
)
def test_what_only_looks_like_an_earlier_versions_plan_is_not_taken(
    view: ExperimentView, plan: Plan, owned: bool
) -> None:
    owner = {"ownerReferences": [owner_reference(VIEW)]} if owned else {}
    assert not isinstance(plan_of(Maps(**{NAME: planted(plan, **owner)}), view), StoredPlan)


def test_an_earlier_versions_plan_that_names_another_store_is_not_taken() -> None:
    elsewhere = honest()
    storage = elsewhere.storage.model_copy(update={"endpoint": "https://evil"})
    stages = tuple(stage.model_copy(update={"storage": storage}) for stage in elsewhere.stages)
    plan = elsewhere.model_copy(update={"stages": stages})
    there = planted(plan, ownerReferences=[owner_reference(VIEW)])
    assert not isinstance(plan_of(Maps(**{NAME: there}), of_earlier_version(plan)), StoredPlan)
