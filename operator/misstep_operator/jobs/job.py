"""The Job of a stage, and the Service of a training over several nodes. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.frozen import FrozenStage
from misstep.plan.labels import stage_label
from misstep.spec.cluster import Cluster
from misstep.spec.experiment import SecretVariable
from misstep.store.description import Storage
from misstep_operator import observed as o
from misstep_operator.jobs.pod import CONTAINER, MASTER_PORT, is_multi_node, pod_spec, service_name
from misstep_operator.settings import Settings


def job_name(uid: str, key: str, attempt: int) -> str:
    """Return the name of an attempt's Job, the same for everyone who would create it. It has at most 63 characters."""
    return f"{key}-{hashlib.sha256(uid.encode()).hexdigest()[:6]}-{attempt}"


def storage_id(storage: Storage) -> str:
    """Return a store's hash for labels. Experiments with the same store share results."""
    address = f"{storage.endpoint or ''} {storage.uri.rstrip('/')}"
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def owner_reference(experiment: o.ExperimentView) -> dict[str, Any]:
    """Return the reference by which an object is deleted with its Experiment."""
    return {
        "apiVersion": "misstep.dev/v1alpha1",
        "kind": "Experiment",
        "name": experiment.name,
        "uid": experiment.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def child_labels(experiment: o.ExperimentView) -> dict[str, str]:
    """Return the labels by which all objects of an Experiment are found."""
    return {o.NAME_LABEL: "misstep", o.MANAGED_LABEL: o.MANAGER, o.EXPERIMENT_LABEL: experiment.name}


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
        queue: labels of the Experiment that its Jobs get too, such as Kueue's queue name.
    """
    name = job_name(experiment.uid, stage.key, attempt)
    own = cluster.pods(stage.kind.value, settings.stage_defaults)
    labels = {**_labels(experiment, stage), o.ATTEMPT_LABEL: str(attempt)}
    whole = _whole_name(stage)
    annotations = {**own.annotations, **whole}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": experiment.namespace,
            "labels": {**queue, **labels},
            **({"annotations": whole} if whole else {}),
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": stage.shards,
            "parallelism": stage.shards,
            **_failures(stage, cluster),
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": cluster.ttl_seconds_after_finished,
            **({"activeDeadlineSeconds": own.deadline_seconds} if own.deadline_seconds else {}),
            "template": {
                "metadata": {
                    # Not on the Job, since Kueue and others would read its priority from these labels.
                    "labels": {**own.labels, **labels},
                    **({"annotations": annotations} if annotations else {}),
                },
                "spec": pod_spec(name, stage, own, secrets, settings),
            },
        },
    }


def _failures(stage: FrozenStage, cluster: Cluster) -> dict[str, Any]:
    """Return what a failed or evicted pod means for its Job.

    A shard is tried again alone. The pods of a training over several nodes need each other, and none can be replaced
    while the others run. So its Job fails with the first pod that fails or is evicted.
    """
    disrupted = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    refused = {"onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_BAD_INPUT]}}
    fail_if_refused = {"action": "FailJob", **refused}
    if is_multi_node(stage):
        return {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [fail_if_refused, {"action": "FailJob", **disrupted}]},
        }
    return {
        "backoffLimitPerIndex": cluster.retries,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [{"action": "Ignore", **disrupted}, fail_if_refused]},
    }


def make_service(experiment: o.ExperimentView, stage: FrozenStage) -> dict[str, Any] | None:
    """Build the headless Service by which the nodes of one training find each other. None for other stages.

    All attempts share it, since the names of their pods differ.
    """
    if not is_multi_node(stage):
        return None
    labels = _labels(experiment, stage)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(job_name(experiment.uid, stage.key, 1)),
            "namespace": experiment.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "clusterIP": "None",
            # Nodes connect to each other before they are ready.
            "publishNotReadyAddresses": True,
            "selector": {name: labels[name] for name in (o.EXPERIMENT_LABEL, o.KEY_LABEL)},
            "ports": [{"name": "torchrun", "port": MASTER_PORT}],
        },
    }


def _whole_name(stage: FrozenStage) -> dict[str, str]:
    """Return the annotation with the whole name of a stage whose name is too long for its label."""
    return {} if stage_label(stage.name) == stage.name else {o.STAGE_ANNOTATION: stage.name}


def _labels(experiment: o.ExperimentView, stage: FrozenStage) -> dict[str, str]:
    return {
        **child_labels(experiment),
        o.COMPONENT_LABEL: stage.kind.value,
        o.STAGE_LABEL: stage_label(stage.name),
        o.KEY_LABEL: stage.key,
        o.STORAGE_LABEL: storage_id(stage.storage),
    }
