"""A stage as a ``batch/v1`` Job, and what goes with it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.frozen import FrozenStage, StageKind, Storage
from misstep.spec.cluster import Cluster, PodSettings
from misstep.spec.experiment import SecretVariable
from misstep.spec.volumes import Volume
from misstep_operator import observed as o
from misstep_operator.settings import Settings

MASTER_PORT = 29500
_TRAINING = (StageKind.SFT, StageKind.RFT, StageKind.DPO)
_CONTAINER = "stage"
_NOBODY = 65532


def job_name(uid: str, key: str, attempt: int) -> str:
    """Name an attempt's Job: the same for everyone who would create it, and 63 characters at most."""
    return f"{key}-{hashlib.sha256(uid.encode()).hexdigest()[:6]}-{attempt}"


def storage_id(storage: Storage) -> str:
    """Name a store in a label: Experiments with the same one share results."""
    place = f"{storage.endpoint or ''} {storage.uri.rstrip('/')}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def owner_reference(experiment: o.ExperimentView) -> dict[str, Any]:
    """Make a child go with its Experiment."""
    return {
        "apiVersion": "misstep.dev/v1alpha1",
        "kind": "Experiment",
        "name": experiment.name,
        "uid": experiment.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def child_labels(experiment: o.ExperimentView) -> dict[str, str]:
    """Return what all children of an Experiment are found by."""
    return {o.NAME_LABEL: "misstep", o.MANAGED_LABEL: o.MANAGER, o.EXPERIMENT_LABEL: experiment.name}


def as_argument(text: str) -> str:
    """Write a container's argument so that it arrives as it is: a kubelet puts variables in for ``$(NAME)``."""
    return text.replace("$", "$$")


def make_job(
    experiment: o.ExperimentView,
    stage: FrozenStage,
    attempt: int,
    cluster: Cluster,
    secrets: list[SecretVariable],
    settings: Settings,
    queue: dict[str, str],
) -> dict[str, Any]:
    """Build the Job of one attempt at a stage.

    Args:
        queue: labels of the Experiment that its Jobs take over, such as Kueue's queue name.
    """
    name = job_name(experiment.uid, stage.key, attempt)
    own = cluster.pods(stage.kind.value, settings.stage_defaults)
    labels = {**own.labels, **_labels(experiment, stage, attempt)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": experiment.namespace,
            "labels": {**queue, **labels},
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": stage.shards,
            "parallelism": stage.shards,
            "backoffLimitPerIndex": cluster.retries,
            "maxFailedIndexes": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": _CONTAINER,
                            "operator": "In",
                            "values": [EXIT_BAD_INPUT],
                        },
                    },
                ]
            },
            "ttlSecondsAfterFinished": cluster.ttl_seconds_after_finished,
            **({"activeDeadlineSeconds": own.deadline_seconds} if own.deadline_seconds else {}),
            "template": {
                "metadata": {"labels": labels, **({"annotations": own.annotations} if own.annotations else {})},
                "spec": _pod(name, stage, own, secrets, settings),
            },
        },
    }


def make_service(experiment: o.ExperimentView, stage: FrozenStage, attempt: int) -> dict[str, Any] | None:
    """Build the headless Service by which the nodes of one training find each other; None for other stages."""
    if not _over_nodes(stage):
        return None
    name = job_name(experiment.uid, stage.key, attempt)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": experiment.namespace,
            "labels": _labels(experiment, stage, attempt),
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "clusterIP": "None",
            # Nodes look for each other before they are ready.
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "torchrun", "port": MASTER_PORT}],
        },
    }


def _labels(experiment: o.ExperimentView, stage: FrozenStage, attempt: int) -> dict[str, str]:
    return {
        **child_labels(experiment),
        o.COMPONENT_LABEL: stage.kind.value,
        o.STAGE_LABEL: stage.name,
        o.KEY_LABEL: stage.key,
        o.ATTEMPT_LABEL: str(attempt),
        o.STORAGE_LABEL: storage_id(stage.storage),
    }


def _over_nodes(stage: FrozenStage) -> bool:
    return stage.kind in _TRAINING and stage.shards > 1


def _pod(
    job: str, stage: FrozenStage, own: PodSettings, secrets: list[SecretVariable], settings: Settings
) -> dict[str, Any]:
    account = own.service_account or settings.service_account
    optional = {
        "serviceAccountName": account,
        "nodeSelector": own.node_selector,
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in own.tolerations],
        "priorityClassName": own.priority_class,
        "runtimeClassName": own.runtime_class,
        "imagePullSecrets": [{"name": name} for name in own.image_pull_secrets],
        "subdomain": job if _over_nodes(stage) else "",
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
            # A claim that is theirs already is not gone through file by file at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{name: value for name, value in optional.items() if value},
        "containers": [_container(job, stage, own, secrets, settings)],
        "volumes": _volumes(stage, own),
    }


def _container(
    job: str, stage: FrozenStage, own: PodSettings, secrets: list[SecretVariable], settings: Settings
) -> dict[str, Any]:
    variables: list[dict[str, Any]] = [
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own volume: the root is read-only
        {"name": "MISSTEP_SCRATCH", "value": "/scratch"},
        {"name": "MISSTEP_CACHE", "value": "/cache"},
        {"name": "MISSTEP_TERMINATION_LOG", "value": "/dev/termination-log"},
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
    ]
    port = settings.stage_metrics_port
    if port:
        variables.append({"name": "MISSTEP_METRICS_PORT", "value": str(port)})
    if _over_nodes(stage):
        variables += [
            {"name": "MISSTEP_MASTER_ADDR", "value": f"{job}-0.{job}"},
            {"name": "MISSTEP_MASTER_PORT", "value": str(MASTER_PORT)},
        ]
    variables += [
        {"name": each.env, "valueFrom": {"secretKeyRef": {"name": each.secret, "key": each.key}}} for each in secrets
    ]
    variables += [{"name": each.name, "value": each.value} for each in own.env]
    source = {"envFrom": [{"secretRef": {"name": settings.env_secret}}]} if settings.env_secret else {}
    return {
        "name": _CONTAINER,
        "image": settings.image(stage.kind),
        "imagePullPolicy": settings.pull_policy,
        "args": ["stage", as_argument(stage.model_dump_json())],
        "env": variables,
        **source,
        **({"ports": [{"name": "metrics", "containerPort": port}]} if port else {}),
        "resources": _resources(stage, own),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - as above
            {"name": "cache", "mountPath": "/cache"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - torch's loaders and NCCL use it
            *(
                {"name": name, "mountPath": volume.mount_path, "readOnly": volume.read_only}
                for name, volume in _named(own.volumes)
            ),
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
        *({"name": name, **_source(volume)} for name, volume in _named(own.volumes)),
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
