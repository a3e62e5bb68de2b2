"""A stage as a ``batch/v1`` Job, and what goes with it. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.frozen import FrozenStage, Storage
from misstep.plan.labels import stage_label
from misstep.spec.cluster import Cluster
from misstep.spec.experiment import SecretVariable
from misstep_operator import observed as o
from misstep_operator.pods import CONTAINER, MASTER_PORT, over_nodes, pod_spec
from misstep_operator.settings import Settings


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
            "backoffLimitPerIndex": cluster.retries,
            "maxFailedIndexes": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "In",
                            "values": [EXIT_BAD_INPUT],
                        },
                    },
                ]
            },
            "ttlSecondsAfterFinished": cluster.ttl_seconds_after_finished,
            **({"activeDeadlineSeconds": own.deadline_seconds} if own.deadline_seconds else {}),
            "template": {
                "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
                "spec": pod_spec(name, stage, own, secrets, settings),
            },
        },
    }


def make_service(experiment: o.ExperimentView, stage: FrozenStage, attempt: int) -> dict[str, Any] | None:
    """Build the headless Service by which the nodes of one training find each other; None for other stages."""
    if not over_nodes(stage):
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


def _whole_name(stage: FrozenStage) -> dict[str, str]:
    """Keep, as an annotation, the name of a stage that its label cannot hold."""
    return {} if stage_label(stage.name) == stage.name else {o.STAGE_ANNOTATION: stage.name}


def _labels(experiment: o.ExperimentView, stage: FrozenStage, attempt: int) -> dict[str, str]:
    return {
        **child_labels(experiment),
        o.COMPONENT_LABEL: stage.kind.value,
        o.STAGE_LABEL: stage_label(stage.name),
        o.KEY_LABEL: stage.key,
        o.ATTEMPT_LABEL: str(attempt),
        o.STORAGE_LABEL: storage_id(stage.storage),
    }
