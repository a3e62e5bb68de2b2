"""Names and labels of Jobs, checked when a plan is made: the API server checks those of one Job at a time, the last of
them when all that comes before has been paid for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from misstep.errors import BadInput
from misstep.plan.labels import MOST_CHARACTERS, stage_label
from misstep.plan.planner import Plan
from misstep.spec.cluster import Cluster, PodSettings
from misstep.spec.experiment import Experiment
from misstep_operator.jobs.job import job_name

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""DNS label of RFC 1035, as names of Services must be."""
_MOST_PREFIX = 253
_MOST_ANNOTATION_BYTES = 256 << 10
_JOB_CONTROLLERS = ("controller-uid", "job-name")
_JOB_CONTROLLERS_PREFIX = "batch.kubernetes.io/"


def refuse_bad_names(plan: Plan, experiment: Experiment, uid: str = "") -> None:
    """Refuse what the API server would refuse in the Job, the pods or the Service of any stage. Raises BadInput."""
    for stage in plan.stages:
        longest = job_name(uid, stage.key, experiment.spec.cluster.attempts)
        host = f"{longest}-{stage.shards - 1}"
        if not _SERVICE.fullmatch(longest) or len(host) > MOST_CHARACTERS:
            raise BadInput("spec", host, f"Pods of the stage {stage.name} cannot have this name.")
        if not is_label_value(stage_label(stage.name)):
            raise BadInput("spec.arms", stage.name, "A stage cannot have this name in a cluster: rename the arm.")
    if not is_label_value(experiment.metadata.name):
        raise BadInput(
            "metadata.name", experiment.metadata.name, "It becomes a label of every Job: take a shorter one."
        )
    for field, settings in _given(experiment.spec.cluster, {stage.kind.value for stage in plan.stages}):
        _check_settings(field, settings)


def is_label_name(name: str) -> bool:
    """Return whether it can be a label's or an annotation's: a part, perhaps after a DNS name and a slash."""
    prefix, slash, part = name.rpartition("/")
    if slash and not (len(prefix) <= _MOST_PREFIX and _PREFIX.fullmatch(prefix)):
        return False
    return _PART.fullmatch(part) is not None


def is_label_value(value: str) -> bool:
    """Return whether a label can hold it."""
    return value == "" or _PART.fullmatch(value) is not None


def _given(cluster: Cluster, kinds: Iterable[str]) -> Iterator[tuple[str, PodSettings]]:
    for name in ("defaults", *sorted(kinds)):
        yield f"spec.cluster.{name}", getattr(cluster, name)


def _check_settings(field: str, settings: PodSettings) -> None:
    _check_names(f"{field}.labels", settings.labels)
    _check_names(f"{field}.nodeSelector", settings.node_selector)
    # The API server compares annotations' names without regard to case.
    _check_names(f"{field}.annotations", {name.lower(): value for name, value in settings.annotations.items()})
    for name in settings.labels:
        if name in _JOB_CONTROLLERS or name.startswith(_JOB_CONTROLLERS_PREFIX):
            raise BadInput(f"{field}.labels", name, "Kubernetes sets this label of a Job's pods itself: remove it.")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in settings.annotations.items())
    if size > _MOST_ANNOTATION_BYTES:
        raise BadInput(f"{field}.annotations", f"{size} bytes", "Kubernetes takes 256 KiB of annotations: give fewer.")
    for toleration in settings.tolerations:
        if toleration.key is not None:
            _check_names(f"{field}.tolerations", {toleration.key: toleration.value or ""})
    if not is_label_name(settings.gpu_resource):
        fix = "Write what the device plugin calls a GPU, as nvidia.com/gpu."
        raise BadInput(f"{field}.gpuResource", settings.gpu_resource, fix)


def _check_names(field: str, given: Mapping[str, str]) -> None:
    for name in given:
        if not is_label_name(name):
            fix = (
                "Kubernetes takes no such name: write letters, digits, '-', '_' and '.', 63 at most, beginning and "
                "ending with a letter or digit; a DNS name and a slash may stand before it."
            )
            raise BadInput(field, name, fix)
