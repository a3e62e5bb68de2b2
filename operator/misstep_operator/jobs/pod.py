"""The pod of a stage's Job, and what it has in common with that of a follower. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import TRAINING
from misstep.spec.cluster import PodSettings
from misstep.spec.experiment import SecretVariable
from misstep.spec.volumes import Volume
from misstep_operator.settings import Settings

MASTER_PORT = 29500
CONTAINER = "stage"
MAX_ARGUMENT_BYTES = 128 << 10
"""Linux accepts no longer argument of a program (MAX_ARG_STRLEN)."""
_NOBODY = 65532


def as_argument(text: str) -> str:
    """Escape a container's argument or variable, since a kubelet replaces ``$(NAME)``."""
    return text.replace("$", "$$")


def is_multi_node(stage: FrozenStage) -> bool:
    """Return whether a stage is one training over several pods."""
    return stage.kind in TRAINING and stage.shards > 1


def service_name(job: str) -> str:
    """Return the name of the Service by which a training's nodes find each other. All Jobs of the stage share it."""
    return job.rpartition("-")[0]


def pod_spec(
    job: str, stage: FrozenStage, own: PodSettings, secrets: list[SecretVariable], settings: Settings
) -> dict[str, Any]:
    """Build the pod of a Job, with the settings of its kind."""
    pod = restricted_pod(_container(job, stage, own, secrets, settings), _volumes(stage, own), own, settings)
    return {**pod, "subdomain": service_name(job)} if is_multi_node(stage) else pod


def restricted_pod(
    container: dict[str, Any], volumes: list[dict[str, Any]], own: PodSettings, settings: Settings
) -> dict[str, Any]:
    """Build a pod of one container that the restricted standard of Kubernetes allows."""
    account = own.service_account or settings.service_account
    optional = {
        "serviceAccountName": account,
        "nodeSelector": own.node_selector,
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in own.tolerations],
        "priorityClassName": own.priority_class,
        "runtimeClassName": own.runtime_class,
        "imagePullSecrets": [{"name": name} for name in own.image_pull_secrets],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "fsGroup": _NOBODY,
            # Without this the kubelet would change the owner of every file in a volume at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{name: value for name, value in optional.items() if value},
        "containers": [container],
        "volumes": volumes,
    }


def restricted_container(
    name: str,
    image: str,
    args: list[str],
    variables: list[dict[str, Any]],
    own: PodSettings,
    secrets: list[SecretVariable],
    settings: Settings,
) -> dict[str, Any]:
    """Build a container of such a pod, without resources and mounts.

    Args:
        variables: its own environment; that of the Experiment and of the chart comes behind it.
    """
    variables = [
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own volume: the root is read-only
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        *variables,
    ]
    variables += [
        {"name": each.env, "valueFrom": {"secretKeyRef": {"name": each.secret, "key": each.key}}} for each in secrets
    ]
    # Escaped, since `$(NAME)` could put a Secret into a variable that goes to a proxy or into a log.
    variables += [{"name": each.name, "value": as_argument(each.value)} for each in own.env]
    source = {"envFrom": [{"secretRef": {"name": settings.env_secret}}]} if settings.env_secret else {}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.pull_policy,
        "args": args,
        "env": variables,
        **source,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _container(
    job: str, stage: FrozenStage, own: PodSettings, secrets: list[SecretVariable], settings: Settings
) -> dict[str, Any]:
    variables: list[dict[str, Any]] = [
        {"name": "MISSTEP_SCRATCH", "value": "/scratch"},
        {"name": "MISSTEP_CACHE", "value": "/cache"},
        {"name": "MISSTEP_TERMINATION_LOG", "value": "/dev/termination-log"},
    ]
    port = settings.stage_metrics_port
    if port:
        variables.append({"name": "MISSTEP_METRICS_PORT", "value": str(port)})
    if is_multi_node(stage):
        variables += [
            {"name": "MISSTEP_MASTER_ADDR", "value": f"{job}-0.{service_name(job)}"},
            {"name": "MISSTEP_MASTER_PORT", "value": str(MASTER_PORT)},
        ]
    args = ["stage", as_argument(stage.model_dump_json())]
    return {
        **restricted_container(CONTAINER, settings.image(stage.kind), args, variables, own, secrets, settings),
        **({"ports": [{"name": "metrics", "containerPort": port}]} if port else {}),
        "resources": _resources(stage, own),
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - as above
            {"name": "cache", "mountPath": "/cache"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - torch's loaders and NCCL use it
            *own_mounts(own),
        ],
    }


def _resources(stage: FrozenStage, own: PodSettings) -> dict[str, Any]:
    given = stage.resources
    amounts = {"cpu": str(given.cpus), "memory": f"{given.memory_mib}Mi"}
    if own.ephemeral_storage:
        amounts["ephemeral-storage"] = f"{own.ephemeral_storage}Mi"
    limits = {"memory": amounts["memory"]}
    if given.gpus:
        limits[own.gpu_resource] = amounts[own.gpu_resource] = str(given.gpus)
    return {"requests": amounts, "limits": limits}


def _volumes(stage: FrozenStage, own: PodSettings) -> list[dict[str, Any]]:
    claim: dict[str, Any] = {"emptyDir": {}}
    if own.model_cache_claim:
        claim = {"persistentVolumeClaim": {"claimName": own.model_cache_claim}}
    shared = own.shared_memory or (1024 if stage.resources.gpus else 64)
    return [
        {"name": "scratch", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "cache", **claim},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared}Mi"}},
        *own_volumes(own),
    ]


def own_volumes(own: PodSettings) -> list[dict[str, Any]]:
    """Return the volumes that an Experiment or the chart adds, ..."""
    return [{"name": name, **_source(volume)} for name, volume in _named(own.volumes)]


def own_mounts(own: PodSettings) -> list[dict[str, Any]]:
    """... and where they are mounted."""
    return [
        {"name": name, "mountPath": volume.mount_path, "readOnly": volume.read_only}
        for name, volume in _named(own.volumes)
    ]


def _named(volumes: list[Volume]) -> Iterator[tuple[str, Volume]]:
    return ((f"volume-{number}", volume) for number, volume in enumerate(volumes))


def _source(volume: Volume) -> dict[str, Any]:
    if volume.config_map is not None:
        return {"configMap": {"name": volume.config_map}}
    if volume.secret is not None:
        return {"secret": {"secretName": volume.secret}}
    if volume.persistent_volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": volume.persistent_volume_claim}}
    size = volume.empty_dir.size if volume.empty_dir else None
    return {"emptyDir": {"sizeLimit": f"{size}Mi"} if size else {}}
