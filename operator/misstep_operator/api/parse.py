"""From the API server's objects to what a pass sees. Pure; whatever an object lacks is taken as absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from misstep.errors import EXIT_BAD_INPUT
from misstep.printable import printable
from misstep_operator import messages as say
from misstep_operator import observed as o
from misstep_operator.jobs.pod import TRAINING
from misstep_operator.observed import ExperimentView, JobState, JobView, Trouble

Object = Mapping[str, Any]
_LOST_SECONDS = 15.0
"""How long after its time to end a pod may still be there: clocks differ, and a kubelet under load is late."""
_PATIENCE_SECONDS = 5.0
"""How long a Job may be without pods before it is asked why."""
_YOUNG_SECONDS = 60.0
"""How long another Experiment's Job may be without a pod that runs, and still be waited for."""
_STUCK = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)
"""Reasons of a waiting container that do not pass by themselves at once."""


def experiment_view(body: Object) -> ExperimentView:
    """Describe an Experiment; its ``attempts`` are the default, since its spec is not parsed here."""
    metadata = body["metadata"]
    return ExperimentView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation") or 1,
        suspend=(body.get("spec") or {}).get("suspend") is True,
        status=body.get("status") or {},
        retry=str((metadata.get("annotations") or {}).get(o.RETRY_ANNOTATION) or ""),
    )


def other_writers(body: Object, writer: str, since: float) -> set[str]:
    """Name the operators other than ``writer`` that have written a status after ``since`` (seconds since the epoch)."""
    return {
        str(entry["manager"])
        for entry in body["metadata"].get("managedFields") or ()
        if entry.get("subresource") == "status"
        and str(entry.get("manager", "")).startswith(f"{o.MANAGER}/")
        and entry["manager"] != writer
        and (_seconds(entry.get("time")) or 0.0) > since
    }


def job_views(jobs: Iterable[Object], pods: Sequence[Object], now: float = 0.0) -> tuple[JobView, ...]:
    """Describe child Jobs with the help of their pods; what is not ours by its labels is left out.

    Args:
        now: seconds since the epoch; by it a pod is known whose node is gone.
    """
    by_job: dict[str, list[Object]] = {}
    for pod in pods:
        by_job.setdefault(labels(pod).get("batch.kubernetes.io/job-name", ""), []).append(pod)
    views = (_job_view(job, by_job.get(job["metadata"]["name"], []), now) for job in jobs)
    return tuple(view for view in views if view is not None)


def without_pods(job: Object, pods: Sequence[Object], now: float) -> bool:
    """Return whether a Job should have had pods for a while and has none: only its events say why."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    started = _seconds(status.get("startTime"))
    if spec.get("suspend") or _condition(job, "Complete") or _condition(job, "Failed") or started is None:
        return False
    name = job["metadata"]["name"]
    has = any(labels(pod).get("batch.kubernetes.io/job-name") == name for pod in pods)
    return not has and not status.get("active") and not status.get("succeeded") and now - started > _PATIENCE_SECONDS


def computes(job: Object, now: float) -> bool:
    """Return whether another Experiment may wait for a Job: its pods run, or it is so young that they are about to. Not
    one that is suspended, cannot be scheduled, is being deleted, or is no Experiment's: that may never end."""
    status, spec, metadata = job.get("status") or {}, job.get("spec") or {}, job["metadata"]
    owners = metadata.get("ownerReferences") or ()
    if not any(owner.get("kind") == "Experiment" and owner.get("controller") for owner in owners):
        return False
    if spec.get("suspend") or _state(job, _together(job))[0] is not JobState.ACTIVE:
        return False
    made = _seconds(metadata.get("creationTimestamp"))
    return bool(status.get("ready")) or (made is not None and now - made < _YOUNG_SECONDS)


def is_owned(body: Object, uid: str) -> bool:
    """Return whether an object belongs to the Experiment of that uid."""
    owners = (body.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("uid") == uid for owner in owners)


def labels(body: Object) -> Mapping[str, str]:
    """Return an object's labels."""
    return body["metadata"].get("labels") or {}


def _job_view(job: Object, pods: list[Object], now: float) -> JobView | None:
    marks, status = labels(job), job.get("status") or {}
    key, attempt = marks.get(o.KEY_LABEL), marks.get(o.ATTEMPT_LABEL, "")
    if key is None or not attempt.isdigit():
        return None
    together = _together(job)
    state, reason, message = _state(job, together)
    stuck = together and state is JobState.ACTIVE and any(_lost(pod, now) for pod in pods)
    if stuck:
        state, reason, message = JobState.FAILED, o.DISRUPTED, say.LOST
    elif state is JobState.FAILED and together:
        reason = _why_together(reason, message, pods)
    if state is JobState.FAILED and reason != o.DISRUPTED:
        message = _last_words(pods, reason) or message
    return JobView(
        name=job["metadata"]["name"],
        key=key,
        stage=(job["metadata"].get("annotations") or {}).get(o.STAGE_ANNOTATION) or marks.get(o.STAGE_LABEL, key),
        attempt=int(attempt),
        state=state,
        reason=reason,
        message=message,
        started=_seconds(status.get("startTime")),
        ended=_seconds(status.get("completionTime") or (_failed(job, together) or {}).get("lastTransitionTime")),
        running_since=min(_starts(pods), default=None),
        running=status.get("ready") or 0,
        trouble=next((found for pod in pods if (found := _trouble(pod))), None) if state is JobState.ACTIVE else None,
        storage=marks.get(o.STORAGE_LABEL, ""),
        stuck=stuck,
    )


def _together(job: Object) -> bool:
    """Return whether its pods are the nodes of one training; also of a Job that an earlier version made."""
    several = ((job.get("spec") or {}).get("completions") or 1) > 1
    return several and labels(job).get(o.COMPONENT_LABEL) in {kind.value for kind in TRAINING}


def _failed(job: Object, together: bool) -> Object | None:
    """Return the condition by which it has failed.

    Kubernetes says that a Job will fail as soon as it does, and that it has once the last of its pods has ended, which
    on a node that is gone none ever does. Shards that still run would do the same work as those of the next Job; the
    nodes of a training that has lost one do none.
    """
    return _condition(job, "Failed") or (_condition(job, "FailureTarget") if together else None)


def _lost(pod: Object, now: float) -> bool:
    """Return whether a pod should have ended a while ago: nobody is there to end it, or to say that it has."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    until = _seconds(pod["metadata"].get("deletionTimestamp"))  # its time to end included
    return until is not None and now - until > _LOST_SECONDS


def _why_together(reason: str, message: str, pods: list[Object]) -> str:
    """Say why a Job of one training failed: pods end one after another, and the first need not be the cause."""
    if reason == "PodFailurePolicy" and f"condition {o.DISRUPTED}" in message:
        return o.DISRUPTED
    return "PodFailurePolicy" if EXIT_BAD_INPUT in _exit_codes(pods) else reason


def _exit_codes(pods: list[Object]) -> set[int]:
    containers = [c for pod in pods for c in (pod.get("status") or {}).get("containerStatuses") or ()]
    return {((each.get("state") or {}).get("terminated") or {}).get("exitCode") or 0 for each in containers}


def _state(job: Object, together: bool) -> tuple[JobState, str, str]:
    failed, complete = _failed(job, together), _condition(job, "Complete")
    if job["metadata"].get("deletionTimestamp"):
        return JobState.ENDING, "", ""
    if failed:
        return JobState.FAILED, str(failed.get("reason") or ""), printable(failed.get("message") or "")
    if complete:
        return JobState.COMPLETE, "", ""
    if (job.get("spec") or {}).get("suspend"):
        return JobState.SUSPENDED, "", ""
    return JobState.ACTIVE, "", ""


def _condition(job: Object, kind: str) -> Object | None:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind and c.get("status") == "True"), None)


def _starts(pods: list[Object]) -> list[float]:
    """When the containers began that run now."""
    containers = [c for pod in pods for c in (pod.get("status") or {}).get("containerStatuses") or ()]
    running = [(container.get("state") or {}).get("running") or {} for container in containers]
    return [began for each in running if (began := _seconds(each.get("startedAt"))) is not None]


def _trouble(pod: Object) -> Trouble | None:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble("Unschedulable", printable(condition.get("message") or ""))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return Trouble(waiting["reason"], printable(waiting.get("message") or ""))
    return None


def _last_words(pods: list[Object], reason: str) -> str:
    """Return what the stage of a failed Job said last: of the pods that failed, the one that ended last."""
    found = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated")
            if ended and ended.get("exitCode"):
                refused = reason == "PodFailurePolicy" and ended["exitCode"] == EXIT_BAD_INPUT
                found.append((refused, str(ended.get("finishedAt") or ""), ended))
    if not found:
        return ""
    _, _, ended = max(found, key=lambda each: each[:2])
    said = " ".join(printable(ended.get("message") or "").split())
    how = f"exit code {ended['exitCode']}"
    if ended.get("reason") not in (None, "", "Error"):
        how = f"{ended['reason']}, {how}"  # OOMKilled, say
        return f"{how}: {said}" if said else how
    return said or how


def _seconds(text: object) -> float | None:
    if isinstance(text, datetime):
        return text.timestamp()
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
