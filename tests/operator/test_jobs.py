"""Rendered Jobs: golden files for every kind of stage, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from misstep.plan.frozen import FrozenStage, StageKind
from misstep.plan.planner import Plan
from misstep.spec.cluster import Cluster
from misstep.spec.experiment import SecretVariable
from misstep_operator.jobs import job_name, make_job, make_service
from misstep_operator.observed import ExperimentView
from misstep_operator.settings import SERVICES, Settings
from tests.cluster.process_node import expand
from tests.operator.world import small_plan

VIEW = ExperimentView("research", "e", "0b5c7d2e-uid", 1, False, {})
SETTINGS = Settings(
    images={service: f"registry.example/misstep-{service}:1" for service in set(SERVICES.values())},
    service_account="misstep-stages",
    env_secret="misstep-s3",
    stage_metrics_port=9090,
)
PLAN = small_plan("""
resources:
  sample: {gpus: 1, shards: 4, memory: 8Gi}
  sft: {gpus: 2, nodes: 2, cpus: 8, memory: 64Gi}
""")
CLUSTER = Cluster.model_validate(
    {
        "retries": 5,
        "defaults": {"nodeSelector": {"pool": "cpu"}, "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]},
        "sample": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "runtimeClass": "nvidia",
            "modelCacheClaim": "models",
            "deadlineSeconds": 7200,
        },
    }
)
SECRETS = [SecretVariable(env="HF_TOKEN", secret="hugging-face", key="token")]


def stages(plan: Plan) -> dict[StageKind, FrozenStage]:
    return {stage.kind: stage for stage in reversed(plan.stages)}


def job_of(stage: FrozenStage, attempt: int = 1) -> dict[str, Any]:
    queue = {"kueue.x-k8s.io/queue-name": "team"}
    return make_job(VIEW, stage, attempt, CLUSTER, SECRETS, SETTINGS, queue)


@pytest.mark.parametrize("kind", sorted(stages(PLAN)), ids=str)
def test_rendered(kind: StageKind, snapshot: SnapshotAssertion) -> None:
    job = job_of(stages(PLAN)[kind])
    container = job["spec"]["template"]["spec"]["containers"][0]
    frozen = container["args"].pop()
    assert FrozenStage.model_validate_json(frozen) == stages(PLAN)[kind]
    assert yaml.safe_dump(job, sort_keys=False) == snapshot


def test_nodes_of_one_training_meet_by_a_headless_service() -> None:
    stage = stages(PLAN)[StageKind.SFT]
    assert stage.shards == 2
    service, job = make_service(VIEW, stage, 3), job_of(stage, 3)
    assert service is not None
    name = job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"] == name
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert variables["MISSTEP_MASTER_ADDR"] == f"{name}-0.{name}"
    assert make_service(VIEW, stages(PLAN)[StageKind.SAMPLE], 1) is None, "shards need not meet"


@pytest.mark.parametrize("stage", PLAN.stages, ids=lambda stage: stage.name)
def test_credentials_come_from_secrets_and_names_fit(stage: FrozenStage) -> None:
    job = job_of(stage)
    assert len(job["metadata"]["name"]) <= 57, "pods add an index and five characters"
    container = job["spec"]["template"]["spec"]["containers"][0]
    hub = next(each for each in container["env"] if each["name"] == "HF_TOKEN")
    assert hub["valueFrom"] == {"secretKeyRef": {"name": "hugging-face", "key": "token"}}
    assert container["envFrom"] == [{"secretRef": {"name": "misstep-s3"}}]
    for value in job["metadata"]["labels"].values():
        assert len(value) <= 63
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_dollars_of_a_prompt_reach_the_stage() -> None:
    """A kubelet puts variables in for ``$(NAME)``, among them the store's keys."""
    plain = next(stage for stage in PLAN.stages if stage.kind is StageKind.SAMPLE).model_dump_json()
    told = plain.replace("{question}", "Solve $$x$$ in $(AWS_SECRET_ACCESS_KEY): {question}")
    assert told != plain
    stage = FrozenStage.model_validate_json(told)
    body = make_job(VIEW, stage, 1, CLUSTER, [], SETTINGS, {})
    argument = body["spec"]["template"]["spec"]["containers"][0]["args"][1]
    assert expand(argument, {"AWS_SECRET_ACCESS_KEY": "secret"}) == stage.model_dump_json()


def test_no_port_is_open_unless_the_operator_is_told_so() -> None:
    closed = replace(SETTINGS, stage_metrics_port=0)
    job = make_job(VIEW, stages(PLAN)[StageKind.SAMPLE], 1, CLUSTER, SECRETS, closed, {})
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert "ports" not in container
    assert "MISSTEP_METRICS_PORT" not in {each["name"] for each in container["env"]}


def test_names_are_the_same_for_everyone_and_differ_between_experiments_and_attempts() -> None:
    names = {job_name(uid, "sft-0", attempt) for uid in ("a", "b") for attempt in (1, 2) for _ in range(2)}
    assert len(names) == 4
