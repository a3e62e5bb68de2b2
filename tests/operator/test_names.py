"""Names and labels of Jobs: what the API server would refuse is made impossible, or refused when the plan is made."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.plan.labels import stage_label
from misstep_operator import observed as o
from misstep_operator.api.parse import experiment_view, job_views
from misstep_operator.jobs.job import make_job, make_service
from misstep_operator.jobs.names import is_label_name, is_label_value
from misstep_operator.planning.planning import find_externals, make_plan, parse
from tests.operator.test_jobs import SETTINGS
from tests.operator.test_planning import body, planned

LONG_ARM = "dpo-shared-prefix-beta-0-05-epochs-2"
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
HOST = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True).filter(lambda name: name != "sft")


def check_names_of_jobs(document: dict[str, Any]) -> None:
    """Whatever the plan, the API server takes the names and labels of all that is made from it."""
    experiment = parse(document)
    made = make_plan(experiment, find_externals(experiment), {"model": None})
    view = experiment_view({**document, "metadata": {**document["metadata"], "namespace": "n"}})
    labels = set()
    for stage in made.stages:
        job = make_job(view, stage, experiment.spec.cluster.attempts, experiment.spec.cluster, [], SETTINGS, {})
        objects = [job, job["spec"]["template"], make_service(view, stage)]
        for each in filter(None, objects):
            assert all(VALUE.fullmatch(value) for value in each["metadata"].get("labels", {}).values())
        assert HOST.fullmatch(f"{job['metadata']['name']}-{stage.shards - 1}")
        labels.add(job["metadata"]["labels"][o.STAGE_LABEL])
        found = {**job, "status": {}}
        assert job_views([found], [])[0].stage == stage.name, "the whole name is found again"
    assert len(labels) == len(made.stages), "no two stages share a label"


@given(
    arm=NAMES,
    experiment=NAMES,
    sizes=st.sets(st.integers(20, 10_000_000), min_size=1, max_size=2),
    seeds=st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=2),
)
def test_any_arm_size_and_seed_gives_names_that_kubernetes_takes(
    arm: str, experiment: str, sizes: set[int], seeds: set[int]
) -> None:
    problems = {
        "train": {"format": "strides", "limit": 10_000_000},
        "validation": {"format": "strides", "limit": 50},
        "test": {"format": "strides", "limit": 50},
        "sizes": sorted(sizes),
    }
    arms = [{"name": "sft", "method": "sft"}, {"name": arm, "method": "dpo", "pairs": "shared-prefix"}]
    document = body(problems=problems, arms=arms, seeds=sorted(seeds))
    document["metadata"]["name"] = experiment
    try:
        check_names_of_jobs(document)
    except BadInput as error:
        assert "Two stages would have this name" in error.fix


def test_a_long_arm_with_a_date_as_seed_runs_under_a_shorter_label() -> None:
    arms = [{"name": "sft", "method": "sft"}, {"name": LONG_ARM, "method": "dpo", "pairs": "shared-prefix"}]
    document = body(arms=arms, seeds=[20261128])
    document["spec"]["problems"]["sizes"] = [4000]
    document["spec"]["problems"]["train"]["limit"] = 5000
    check_names_of_jobs(document)
    names = [stage.name for stage in planned(document).stages]
    long = [name for name in names if len(name) > 63]
    assert long == ["verify-test-dpo-shared-prefix-beta-0-05-epochs-2-d4000-s20261128"]
    assert stage_label(long[0]) == "verify-test-dpo-shared-prefix-beta-0-05-epochs-2-d4000-" + stage_label(long[0])[-8:]


BAD = [
    ({"labels": {"bad name!": "x"}}, "labels", "bad name!"),
    ({"labels": {"-x": "x"}}, "labels", "-x"),
    ({"labels": {"UPPER.example/x": "x"}}, "labels", "UPPER.example/x"),
    ({"labels": {"a/b/c": "x"}}, "labels", "a/b/c"),
    ({"labels": {"x" * 64: "x"}}, "labels", "x" * 64),
    ({"labels": {"batch.kubernetes.io/job-name": "x"}}, "labels", "Kubernetes sets this label"),
    ({"labels": {"controller-uid": "x"}}, "labels", "Kubernetes sets this label"),
    ({"annotations": {"with space": "x"}}, "annotations", "with space"),
    ({"nodeSelector": {"/x": "x"}}, "nodeSelector", "/x"),
    ({"tolerations": [{"key": "a b", "operator": "Exists"}]}, "tolerations", "a b"),
    ({"gpuResource": "nvidia.com/"}, "gpuResource", "nvidia.com/"),
    ({"annotations": {f"a{n}": "é" * 4096 for n in range(32)}}, "annotations", "256 KiB"),
]


@pytest.mark.parametrize("kind", ["defaults", "dpo"])
@pytest.mark.parametrize(("settings", "field", "said"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_what_a_later_jobs_api_call_would_refuse_is_refused_at_once(
    kind: str, settings: dict[str, Any], field: str, said: str
) -> None:
    """Settings of `dpo` would be met when SFT and credit have been paid for."""
    with pytest.raises(BadInput, match=rf"^spec\.cluster\.{kind}\.{field}: ") as caught:
        planned(body(cluster={kind: settings}))
    assert said in str(caught.value)


def test_what_kubernetes_takes_is_taken() -> None:
    good = {"app": "x", "example.com/Team_1.x": "A.b_c-1", "x": ""}
    annotations = {"sidecar.istio.io/inject": "false", "Example": "any text: ü"}
    settings = {"labels": good, "annotations": annotations, "nodeSelector": {"kubernetes.io/os": "linux"}}
    check_names_of_jobs(body(cluster={"defaults": settings}))


@given(st.text(st.sampled_from("ab-_./A0é "), max_size=70))
def test_label_names_and_values_are_kubernetes_own_rule(text: str) -> None:
    assert is_label_value(text) == (VALUE.fullmatch(text) is not None)
    if is_label_name(text):
        prefix, slash, part = text.rpartition("/")
        assert "/" not in prefix
        assert part
        assert VALUE.fullmatch(part)
        assert not slash or prefix == prefix.lower()
