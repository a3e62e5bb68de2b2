"""The parts of Jobs and pods that the operator keeps in memory. Pure.

An object may have 1.5 MiB, and an Experiment may have thousands of pods. Whole objects of one tenant could fill the
operator's memory. `api.parse` reads a few hundred bytes of a Job or a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from misstep_operator import observed as o

MAX_JOBS = 5000
"""Of one Experiment. With more, reconciling it ends in an error."""
MAX_PODS = 5000
"""Of one Experiment. Others are not read: pods only say why something fails or waits."""
MAX_OF_OTHERS = 1000
"""Jobs of other Experiments that compute the same stages. Further ones are ignored."""
MAX_EVENTS = 20_000
_MAX_CHARACTERS = 4096
_JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
_LABELS = {o.KEY_LABEL, o.ATTEMPT_LABEL, o.STAGE_LABEL, o.COMPONENT_LABEL, o.EXPERIMENT_LABEL, o.STORAGE_LABEL}
_LABELS |= {_JOB_NAME_LABEL, o.TRACKER_LABEL}
_METADATA = ("name", "namespace", "deletionTimestamp", "creationTimestamp")
_MAX_OWNERS = 16
_MAX_ITEMS = 64
"""Conditions or containers. A pod of a stage has one container, and those that others inject."""


def trim_job(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a Job that are used."""
    return {
        "metadata": _metadata(body),
        "spec": _some(body, "spec", ("suspend", "completions")),
        "status": _status(body),
    }


def trim_pod(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a pod that are used."""
    return {"metadata": _metadata(body), "status": _status(body)}


def cut(value: Any) -> Any:
    """Cut long texts and long lists in JSON-like data."""
    if isinstance(value, str):
        return value[:_MAX_CHARACTERS]
    if isinstance(value, Mapping):
        return {name: cut(inner) for name, inner in value.items()}
    return [cut(inner) for inner in value[:_MAX_ITEMS]] if isinstance(value, list) else value


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    found = {name: metadata[name] for name in _METADATA if name in metadata}
    found["labels"] = {name: text for name, text in (metadata.get("labels") or {}).items() if name in _LABELS}
    found["ownerReferences"] = cut((metadata.get("ownerReferences") or [])[:_MAX_OWNERS])
    whole = (metadata.get("annotations") or {}).get(o.STAGE_ANNOTATION)
    return found if whole is None else {**found, "annotations": {o.STAGE_ANNOTATION: cut(whole)}}


def _some(body: Mapping[str, Any], part: str, names: tuple[str, ...]) -> dict[str, Any]:
    given = body.get(part) or {}
    return {name: cut(given[name]) for name in names if name in given}


def _status(body: Mapping[str, Any]) -> dict[str, Any]:
    names = ("startTime", "completionTime", "active", "succeeded", "failed", "ready", "conditions", "phase")
    return _some(body, "status", (*names, "containerStatuses"))
