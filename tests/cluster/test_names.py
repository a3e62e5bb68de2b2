"""The rule for names and labels of Jobs (`misstep_operator.jobs.names`) is the API server's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.life import kubectl
from cluster.places import ClusterError
from misstep.plan.labels import stage_label
from misstep.spec.cluster import Cluster
from misstep_operator.api.parse import experiment_view
from misstep_operator.jobs.job import make_job
from tests.operator.test_jobs import SETTINGS
from tests.operator.test_names import BAD, LONG_ARM
from tests.operator.test_planning import body, planned

pytestmark = pytest.mark.cluster


def create(control_plane: Path, settings: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """Have the API server check a Job with these settings, without making it; return what it would be."""
    document = body()
    document["metadata"] |= {"name": "e", "namespace": "default"}
    stage = planned(document).stages[0]
    stage = stage if name is None else stage.model_copy(update={"name": name})
    cluster = Cluster.model_validate({"defaults": settings})
    job = make_job(experiment_view(document), stage, 1, cluster, [], SETTINGS, {})
    text = kubectl(control_plane, "create", "--dry-run=server", "-ojson", "-f-", stdin=json.dumps(job))
    made: dict[str, Any] = json.loads(text)
    return made


SENT = [settings for settings, field, _ in BAD if field != "gpuResource"]
"""The stage asks for no GPU."""


@pytest.mark.parametrize("settings", SENT, ids=[str(number) for number in range(len(SENT))])
def test_what_planning_refuses_the_api_server_refuses(control_plane: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match=r"[Ii]nvalid"):
        create(control_plane, settings)


def test_a_stages_long_name_is_taken_and_kept_whole(control_plane: Path) -> None:
    name = f"verify-test-{LONG_ARM}-d10000000-s2147483647"
    made = create(control_plane, {"labels": {"example.com/Team_1.x": "A.b_c-1"}}, name)
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert metadata["labels"]["misstep.dev/stage"] == stage_label(name)
        assert metadata["annotations"]["misstep.dev/stage"] == name
