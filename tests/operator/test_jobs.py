"""Rendered Jobs: a golden file for each shape, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import IMAGES, KINDS, StageKind
from misstep.plan.planner import Plan
from misstep.spec.cluster import Cluster, PodSettings
from misstep.spec.experiment import SecretVariable
from misstep.spec.volumes import OWN_FOLDERS
from misstep_operator.jobs.job import job_name, make_job, make_service
from misstep_operator.observed import ExperimentView
from misstep_operator.settings import Settings
from tests.cluster.process_node import expand
from tests.operator.world import small_plan

VIEW = ExperimentView("research", "e", "0b5c7d2e-uid", 1, False, {})
SETTINGS = Settings(
    images={service: f"registry.example/misstep-{service}:1" for service in IMAGES},
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
        "defaults": {
            "nodeSelector": {"pool": "cpu"},
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "volumes": [{"mountPath": "/etc/misstep/ca", "configMap": "store-ca"}],
        },
        "sample": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "runtimeClass": "nvidia",
            "modelCacheClaim": "models",
            "deadlineSeconds": 7200,
        },
        "sft": {
            "volumes": [
                {"mountPath": "/etc/misstep/keys", "secret": "keys"},
                {"mountPath": "/data", "persistentVolumeClaim": "data", "readOnly": False},
                {"mountPath": "/kernels", "emptyDir": {"size": "10Gi"}, "readOnly": False},
                {"mountPath": "/more", "emptyDir": {}, "readOnly": False},
            ],
        },
    }
)
SECRETS = [SecretVariable(env="HF_TOKEN", secret="hugging-face", key="token")]


def stages(plan: Plan) -> dict[StageKind, FrozenStage]:
    return {stage.kind: stage for stage in reversed(plan.stages)}


def job_of(stage: FrozenStage, attempt: int = 1) -> dict[str, Any]:
    queue = {"kueue.x-k8s.io/queue-name": "team"}
    return make_job(VIEW, stage, attempt, CLUSTER, SECRETS, SETTINGS, queue)


SHAPES = {
    StageKind.PROBLEMS: "one pod",
    StageKind.SAMPLE: "shards with a GPU each",
    StageKind.SFT: "a training over several nodes",
}


@pytest.mark.parametrize("kind", SHAPES, ids=str)
def test_rendered(kind: StageKind, snapshot: SnapshotAssertion) -> None:
    job = job_of(stages(PLAN)[kind])
    container = job["spec"]["template"]["spec"]["containers"][0]
    frozen = container["args"].pop()
    assert FrozenStage.model_validate_json(frozen) == stages(PLAN)[kind]
    assert yaml.safe_dump(job, sort_keys=False) == snapshot


@pytest.mark.parametrize("kind", sorted(set(stages(PLAN)) - set(SHAPES)), ids=str)
def test_other_kinds_differ_from_one_pod_by_names_image_and_memory(kind: StageKind) -> None:
    stage = stages(PLAN)[kind]
    expected = job_of(stages(PLAN)[StageKind.PROBLEMS])
    expected["metadata"]["name"] = job_name(VIEW.uid, stage.key, 1)
    for metadata in (expected["metadata"], expected["spec"]["template"]["metadata"]):
        metadata["labels"] |= {
            "app.kubernetes.io/component": kind.value,
            "misstep.dev/stage": stage.name,
            "misstep.dev/key": stage.key,
        }
    container = expected["spec"]["template"]["spec"]["containers"][0]
    container["image"] = f"registry.example/misstep-{KINDS[kind].image}:1"
    container["args"][-1] = stage.model_dump_json()
    for amounts in container["resources"].values():
        amounts["memory"] = f"{KINDS[kind].memory_mib}Mi"
    assert job_of(stage) == expected


def test_nodes_of_one_training_meet_by_a_headless_service() -> None:
    stage = stages(PLAN)[StageKind.SFT]
    assert stage.shards == 2
    service = make_service(VIEW, stage)
    assert service is not None
    for attempt in (1, 3, 12):  # attempts share it, and each meets at a pod of its own
        job = job_of(stage, attempt)
        name = job["metadata"]["name"]
        pod = job["spec"]["template"]["spec"]
        assert service["metadata"]["name"] == pod["subdomain"] == name.removesuffix(f"-{attempt}")
        marks = job["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= marks.items()
        variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert variables["MISSTEP_MASTER_ADDR"] == f"{name}-0.{service['metadata']['name']}"
    assert make_service(VIEW, stages(PLAN)[StageKind.SAMPLE]) is None, "shards need not meet"


def test_a_training_over_several_pods_fails_with_the_first_of_them_and_shards_do_not() -> None:
    gang, shards = (job_of(stages(PLAN)[kind])["spec"] for kind in (StageKind.SFT, StageKind.SAMPLE))
    assert gang["backoffLimit"] == 0
    assert {rule["action"] for rule in gang["podFailurePolicy"]["rules"]} == {"FailJob"}
    assert "backoffLimitPerIndex" not in gang
    assert shards["backoffLimitPerIndex"] == 5
    assert [rule["action"] for rule in shards["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]


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


@pytest.mark.parametrize("stage", PLAN.stages, ids=lambda stage: stage.name)
def test_what_is_mounted_is_there_and_named_once(stage: FrozenStage) -> None:
    pod = job_of(stage)["spec"]["template"]["spec"]
    mounts = pod["containers"][0]["volumeMounts"]
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert [mount["name"] for mount in mounts] == volumes
    assert len(set(volumes)) == len(volumes) == len({mount["mountPath"] for mount in mounts})
    folders = {mount["mountPath"].split("/")[1] for mount in mounts if not mount["name"].startswith("volume-")}
    assert folders <= set(OWN_FOLDERS), "an Experiment may not mount over them"


def test_the_charts_settings_lie_beneath_an_experiments_own_and_change_no_key() -> None:
    common = {
        "imagePullSecrets": ["registry"],
        "nodeSelector": {"pool": "shared"},
        "priorityClass": "low",
        "volumes": [{"mountPath": "/etc/company/ca", "configMap": "company-ca"}],
    }
    told = replace(SETTINGS, stage_defaults=PodSettings.model_validate(common))
    own = Cluster.model_validate({"defaults": {"nodeSelector": {"pool": "cpu"}}, "sft": {"imagePullSecrets": []}})
    for kind, stage in stages(PLAN).items():
        job, alone = (make_job(VIEW, stage, 1, own, [], settings, {}) for settings in (told, SETTINGS))
        pod, plain = job["spec"]["template"]["spec"], alone["spec"]["template"]["spec"]
        secrets = None if kind is StageKind.SFT else [{"name": "registry"}]
        assert pod.pop("imagePullSecrets", None) == secrets, "nothing, written out, is the Experiment's own too"
        assert pod["nodeSelector"] == {"pool": "cpu"}
        assert pod.pop("priorityClassName") == "low"
        assert pod["volumes"].pop() == {"name": "volume-0", "configMap": {"name": "company-ca"}}
        assert pod["containers"][0]["volumeMounts"].pop()["mountPath"] == "/etc/company/ca"
        assert pod == plain
        assert job["metadata"] == alone["metadata"], "its name and labels hold the stage's key"


def test_a_model_is_checked_in_the_image_of_training_on_no_gpu() -> None:
    plan = small_plan("""
resources:
  default: {gpus: 4, nodes: 2, shards: 3}
  inspect: {cpus: 2, memory: 6Gi}
""")
    stage = stages(plan)[StageKind.INSPECT]
    cluster = Cluster.model_validate({"inspect": {"nodeSelector": {"pool": "small"}, "modelCacheClaim": "models"}})
    job = make_job(VIEW, stage, 1, cluster, [], SETTINGS, {})
    assert (job["spec"]["completions"], make_service(VIEW, stage)) == (1, None)
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "small"}
    assert {"claimName": "models"} in [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    (container,) = pod["containers"]
    assert container["image"] == SETTINGS.images["training"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "6144Mi"}, "limits": {"memory": "6144Mi"}}
    trained = make_job(VIEW, stages(plan)[StageKind.SFT], 1, cluster, [], SETTINGS, {})
    limits = trained["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "4", "what the check of the model goes before"


def test_names_are_the_same_for_everyone_and_differ_between_experiments_and_attempts() -> None:
    names = {job_name(uid, "sft-0", attempt) for uid in ("a", "b") for attempt in (1, 2) for _ in range(2)}
    assert len(names) == 4
