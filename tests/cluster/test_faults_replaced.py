"""Objects that the API server refuses, and an Experiment that is replaced by another one of the same name."""

from __future__ import annotations

import json

import pytest

from tests.cluster.faults import Undisturbed, assert_nothing_left, assert_same, operator, small
from tests.cluster.operating import Operating

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]


@pytest.mark.faults(seconds=40)
def test_the_api_server_refuses_jobs_for_a_while(ground: Operating, undisturbed: Undisturbed) -> None:
    document = small(ground, "refused")
    ground.kubectl("create", "quota", "no-jobs", "--hard=count/jobs.batch=0")
    with operator(ground):
        try:
            ground.apply(document)
            status = ground.wait("refused", "complaint", lambda found: "quota" in found.get("message", ""), 60)
        finally:
            ground.kubectl("delete", "quota", "no-jobs")
        assert status["state"] == "Waiting"
        assert status["message"].startswith("problems: the API server refuses its Job: ")
        assert "exceeded quota: no-jobs" in status["message"]
        ground.wait_for_state("refused", "Succeeded")
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "refused")


@pytest.mark.faults(seconds=45)
def test_one_of_the_same_name_is_not_run_by_the_plan_of_its_forerunner(
    ground: Operating, undisturbed: Undisturbed
) -> None:
    """Both are of generation 1, and the first one's plan may still lie there when the second one is looked at."""
    first, second = small(ground, "replaced", seeds=[1]), small(ground, "replaced", seeds=[2])
    with operator(ground):
        ground.apply(first)
        ground.wait("replaced", "plan", lambda status: bool(status.get("stages")))
        applied = json.loads(ground.kubectl("create", "--dry-run=client", "-ojson", "-f-", stdin=ground.upload(second)))
        ground.kubectl("delete", "experiment", "replaced", "--wait=false")
        ground.kubectl("create", "-f-", stdin=json.dumps(applied))
        ground.wait_for_state("replaced", "Succeeded")
        assert_same(ground, undisturbed, second, jobs=None, gaps=True)  # the problems may be the forerunner's
        assert_nothing_left(ground, "replaced")
