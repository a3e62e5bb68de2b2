"""Check the names and labels of all Jobs when a plan is made. Pure.

The API server checks them only when a Job is created, and for the last one that is after all others were paid for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from misstep.errors import BadInput
from misstep.plan.labels import MOST_CHARACTERS, stage_label
from misstep.plan.planner import Plan
from misstep.spec.cluster import LABEL, Cluster, PodSettings
from misstep.spec.experiment import Experiment
from misstep_operator.jobs.job import job_name

_PART = re.compile(LABEL)
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label of RFC 1035, as names of Services must be."""
_MAX_PREFIX = 253
_MAX_ANNOTATION_BYTES = 256 << 10
_JOB_CONTROLLERS = ("controller-uid", "job-name")
_JOB_CONTROLLERS_PREFIX = "batch.kubernetes.io/"


def refuse_bad_names(plan: Plan, experiment: Experiment, uid: str = "") -> None:
    """Raise BadInput where the API server would refuse the Job, the pods or the Service of a stage."""
    for stage in plan.stages:
        longest = job_name(uid, stage.key, experiment.spec.cluster.attempts)
        host = f"{longest}-{stage.shards - 1}"
        if not _SERVICE.fullmatch(longest) or len(host) > MOST_CHARACTERS:
            raise BadInput("spec", host, f"Pods of the stage {stage.name} cannot have this name.")
        if not is_label_value(stage_label(stage.name)):
            raise BadInput("spec.arms", stage.name, "A stage cannot have this name in a cluster: rename the arm.")
    if not is_label_value(experiment.metadata.name):
        raise BadInput(
            "metadata.name", experiment.metadata.name, "It becomes a label of every Job: choose a shorter one."
        )
    for field, settings in _pod_settings(experiment.spec.cluster, {stage.kind.value for stage in plan.stages}):
        _check_settings(field, settings)


def is_label_name(name: str) -> bool:
    """Return whether a label or an annotation can have this name, with or without a DNS name and a slash before it."""
    prefix, slash, part = name.rpartition("/")
    if slash and not (len(prefix) <= _MAX_PREFIX and _PREFIX.fullmatch(prefix)):
        return False
    return _PART.fullmatch(part) is not None


def is_label_value(value: str) -> bool:
    """Return whether a label can have this value."""
    return value == "" or _PART.fullmatch(value) is not None


def _pod_settings(cluster: Cluster, kinds: Iterable[str]) -> Iterator[tuple[str, PodSettings]]:
    for name in ("defaults", *sorted(kinds)):
        yield f"spec.cluster.{name}", getattr(cluster, name)


def _check_settings(field: str, settings: PodSettings) -> None:
    _check_names(f"{field}.labels", settings.labels)
    _check_names(f"{field}.nodeSelector", settings.node_selector)
    # The API server ignores the case of annotations' names.
    _check_names(f"{field}.annotations", {name.lower(): value for name, value in settings.annotations.items()})
    for name in settings.labels:
        if name in _JOB_CONTROLLERS or name.startswith(_JOB_CONTROLLERS_PREFIX):
            raise BadInput(f"{field}.labels", name, "Kubernetes sets this label of a Job's pods itself: remove it.")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in settings.annotations.items())
    if size > _MAX_ANNOTATION_BYTES:
        raise BadInput(f"{field}.annotations", f"{size} bytes", "Kubernetes accepts 256 KiB of annotations: give less.")
    for toleration in settings.tolerations:
        if toleration.key is not None:
            _check_names(f"{field}.tolerations", {toleration.key: toleration.value or ""})
    if not is_label_name(settings.gpu_resource):
        fix = "Write the name of the device plugin's GPU resource, such as nvidia.com/gpu."
        raise BadInput(f"{field}.gpuResource", settings.gpu_resource, fix)


def _check_names(field: str, given: Mapping[str, str]) -> None:
    for name in given:
        if not is_label_name(name):
            fix = (
                "Kubernetes does not accept this name: write at most 63 letters, digits, '-', '_' and '.', with a "
                "letter or digit at both ends; a DNS name and a slash may come before it."
            )
            raise BadInput(field, name, fix)
