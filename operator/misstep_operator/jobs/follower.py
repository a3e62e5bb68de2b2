"""The Job of a follower: one pod that logs an Experiment into one tracker while its stages run. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.configmap import PLAN_FILE, plan_name
from misstep.spec.experiment import Experiment
from misstep.spec.tracking import TrackerName, Tracking
from misstep_operator import messages
from misstep_operator import observed as o
from misstep_operator.jobs.job import child_labels, owner_reference
from misstep_operator.jobs.pod import (
    MAX_ARGUMENT_BYTES,
    as_argument,
    own_mounts,
    own_volumes,
    restricted_container,
    restricted_pod,
)
from misstep_operator.policy.rules import Rule, fits
from misstep_operator.settings import TRACKING_IMAGE, Settings

CONTAINER = "follower"
_BACKOFF = 6
"""How often its pod may fail. Kubernetes waits 10 s before the second one, then twice as long each time."""
_GRACE_SECONDS = 60
"""How long it may log what is left when its Experiment has failed or is suspended."""
_CPU, _MEMORY = "50m", "512Mi"
_PLAN_FOLDER = "/scratch"
"""Over which no Experiment may mount a volume."""
_QUEUE = "kueue.x-k8s.io/"
"""Prefix of labels by which Kueue would hold a pod back."""
_THIS_POD = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - nothing is bound


def why_not_tracked(experiment: Experiment, rule: Rule | None, settings: Settings) -> dict[str, str]:
    """Return why no pod can log into a tracker that an Experiment names, by tracker.

    Args:
        rule: the platform's rule for its namespace.
    """
    tracking = experiment.spec.tracking
    if not settings.images.get(TRACKING_IMAGE):
        return dict.fromkeys(tracking.names, messages.NO_TRACKING_IMAGE)
    if len(_argument(experiment).encode()) >= MAX_ARGUMENT_BYTES:
        return dict.fromkeys(tracking.names, messages.EXPERIMENT_TOO_LONG)
    return {name: why for name in tracking.names if (why := _obstacle(name, tracking, rule))}


def _obstacle(name: TrackerName, tracking: Tracking, rule: Rule | None) -> str:
    listed = None if rule is None else rule.trackers
    match name:
        case "mlflow" if tracking.mlflow is not None:
            if urlsplit(tracking.mlflow.uri).hostname in _THIS_POD:
                return messages.TRACKER_IN_POD
            allowed = listed is None or _may_be_asked(tracking.mlflow.uri, listed)
        case "wandb" if tracking.wandb is not None and tracking.wandb.mode == "online":
            allowed = listed is None or "wandb" in listed
        case _:
            return messages.FILES_IN_POD
    return "" if allowed else messages.tracker_not_listed(listed or ())


def _may_be_asked(uri: str, listed: tuple[str, ...]) -> bool:
    straight = ".." not in uri and "%" not in uri and "\\" not in uri
    return straight and any(fits(form, listed) for form in (uri, f"{uri.rstrip('/')}/"))


def follower_name(view: o.ExperimentView, tracker: str) -> str:
    """Return the name of the Job for a tracker, the same for everyone who would create it.

    An edited Experiment, or one that is tried again, gets another.
    """
    what = hashlib.sha256(f"{view.uid} {view.retry}".encode()).hexdigest()[:16]
    return f"track-{tracker}-{what}-{view.generation}"


def make_follower(view: o.ExperimentView, tracker: str, experiment: Experiment, settings: Settings) -> dict[str, Any]:
    """Build the Job of one tracker.

    It has one pod at a time: another one starts when nothing of the last is left, so that no point is logged twice. It
    gets no label of a queue. Its Job stays as long as the Experiment, because one that is gone is created again.
    """
    own = experiment.spec.cluster.pods("defaults", settings.stage_defaults)
    labels = {**child_labels(view), o.COMPONENT_LABEL: o.FOLLOWER, o.TRACKER_LABEL: tracker}
    container = {
        **restricted_container(
            CONTAINER,
            settings.images[TRACKING_IMAGE],
            ["follow", tracker, f"{_PLAN_FOLDER}/{PLAN_FILE}", as_argument(_argument(experiment))],
            [],
            own,
            experiment.spec.secrets,
            settings,
        ),
        "resources": {"requests": {"cpu": _CPU, "memory": _MEMORY}, "limits": {"memory": _MEMORY}},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own volume: the root is read-only
            {"name": "plan", "mountPath": _PLAN_FOLDER, "readOnly": True},
            *own_mounts(own),
        ],
    }
    plan = {"name": plan_name(view.name, view.uid, view.generation)}
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "plan", "configMap": plan}, *own_volumes(own)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": follower_name(view, tracker),
            "namespace": view.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(view)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": _BACKOFF,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": list(_failures())},
            "template": {
                "metadata": {
                    "labels": {**{n: v for n, v in own.labels.items() if not n.startswith(_QUEUE)}, **labels},
                    **({"annotations": own.annotations} if own.annotations else {}),
                },
                "spec": {
                    **restricted_pod(container, volumes, own, settings),
                    "terminationGracePeriodSeconds": _GRACE_SECONDS,
                },
            },
        },
    }


def _failures() -> Iterator[dict[str, Any]]:
    yield {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    refused = {"containerName": CONTAINER, "operator": "In", "values": [EXIT_BAD_INPUT]}
    yield {"action": "FailJob", "onExitCodes": refused}


def _argument(experiment: Experiment) -> str:
    return json.dumps(experiment.resolved(), separators=(",", ":"))
