"""An operator on a real API server that has no admission policy: it alone keeps a tenant's Experiment from running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixtures import own_control_plane
from tests.cluster.operating import Operating, operating
from tests.eventually import eventually
from tests.store import servers

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ALLOWED = json.dumps([{"namespaces": ["*"], "serviceAccounts": ["deploy-bot"]}])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Operating]:
    with (
        own_control_plane(tmp_path) as kubeconfig,
        servers.versitygw(tmp_path / "s3") as endpoint,
        operating(kubeconfig, endpoint, tmp_path, "tenant") as found,
    ):
        yield found


def test_another_programs_account_is_used_only_while_the_policy_allows_it(world: Operating) -> None:
    """The tenant would run pods under `deploy-bot`. The administrator then allows it, and forbids it again."""
    world.start_operator()
    world.apply(world.experiment("thief", cluster={"defaults": {"serviceAccount": "deploy-bot"}}))
    status = world.wait("thief", "refusal", lambda status: status.get("state") == "Invalid", 120)
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "PolicyViolation")
    assert "spec.cluster.defaults.serviceAccount: deploy-bot" in failed["message"]
    assert "policy.rules[0].serviceAccounts of the chart" in failed["message"]
    assert world.jobs("thief") == {}

    world.stop_operators()
    world.start_operator(MISSTEP_POLICY_RULES=ALLOWED)
    eventually(lambda: bool(world.jobs("thief")), 120, world.log)
    (job,) = list(world.jobs("thief").values())[:1]
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "deploy-bot"

    world.stop_operators()
    before = world.jobs("thief").keys()
    world.start_operator()
    world.wait("thief", "refusal", lambda status: status.get("state") == "Invalid", 120)
    assert before <= world.jobs("thief").keys(), "what runs goes to its end"
