"""What the operator keeps of objects that tenants may make large and many. Pure.

An object may have 1.5 MiB, and an Experiment thousands of pods: held whole, those of one tenant would fill the
operator's memory. What `views` reads of a Job or a pod is a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from misstep_operator import observed as o

MOST_JOBS = 5000
"""Of one Experiment; with more, its passes end in an error."""
MOST_PODS = 5000
"""Of one Experiment; others are not looked at, for they only say why something fails or waits."""
MOST_OF_OTHERS = 1000
"""Jobs of other Experiments that compute the same; further ones are not waited for."""
MOST_EVENTS = 20_000
_MOST_CHARACTERS = 4096
_JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
_LABELS = {o.KEY_LABEL, o.ATTEMPT_LABEL, o.STAGE_LABEL, o.COMPONENT_LABEL, o.EXPERIMENT_LABEL, o.STORAGE_LABEL}
_LABELS |= {_JOB_NAME_LABEL}
_METADATA = ("name", "namespace", "deletionTimestamp", "creationTimestamp")
_MOST_OWNERS = 16
_MOST_ITEMS = 64
"""Conditions, containers: a pod of a stage has one container, and what is injected beside it."""


def trim_job(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of a Job."""
    return {
        "metadata": _metadata(body),
        "spec": _some(body, "spec", ("suspend", "completions")),
        "status": _status(body),
    }


def trim_pod(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of a pod."""
    return {"metadata": _metadata(body), "status": _status(body)}


def cut(value: Any) -> Any:
    """Return JSON-like data with long texts cut, and long lists."""
    if isinstance(value, str):
        return value[:_MOST_CHARACTERS]
    if isinstance(value, Mapping):
        return {name: cut(inner) for name, inner in value.items()}
    return [cut(inner) for inner in value[:_MOST_ITEMS]] if isinstance(value, list) else value


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    found = {name: metadata[name] for name in _METADATA if name in metadata}
    found["labels"] = {name: text for name, text in (metadata.get("labels") or {}).items() if name in _LABELS}
    found["ownerReferences"] = cut((metadata.get("ownerReferences") or [])[:_MOST_OWNERS])
    whole = (metadata.get("annotations") or {}).get(o.STAGE_ANNOTATION)
    return found if whole is None else {**found, "annotations": {o.STAGE_ANNOTATION: cut(whole)}}


def _some(body: Mapping[str, Any], part: str, names: tuple[str, ...]) -> dict[str, Any]:
    given = body.get(part) or {}
    return {name: cut(given[name]) for name in names if name in given}


def _status(body: Mapping[str, Any]) -> dict[str, Any]:
    names = ("startTime", "completionTime", "active", "succeeded", "failed", "ready", "conditions", "phase")
    return _some(body, "status", (*names, "containerStatuses"))
