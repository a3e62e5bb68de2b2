"""Read the API server's objects into the plain data of `observed`. Pure. Any field may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.kinds import TRAINING
from misstep.printable import printable
from misstep_operator import messages
from misstep_operator import observed as o
from misstep_operator.observed import ExperimentView, FollowerView, JobState, JobView, PodProblem
from misstep_operator.timestamps import to_seconds

Object = Mapping[str, Any]
_NODE_GONE_SECONDS = 15.0
"""How long after its deletion time a pod may still be there: clocks differ, and a busy kubelet is late."""
_NO_PODS_SECONDS = 5.0
"""How long a Job may have no pods before its events are read."""
_NEW_JOB_SECONDS = 60.0
"""How long another Experiment's Job may have no running pod before it is ignored."""
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
"""Reasons of a waiting container that last."""


def experiment_view(body: Object) -> ExperimentView:
    """Describe an Experiment. Its ``attempts`` are the default, since its spec is not parsed here."""
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
    """Return the operators other than ``writer`` that wrote a status after ``since`` (seconds since the epoch)."""
    return {
        str(entry["manager"])
        for entry in body["metadata"].get("managedFields") or ()
        if entry.get("subresource") == "status"
        and str(entry.get("manager", "")).startswith(f"{o.MANAGER}/")
        and entry["manager"] != writer
        and (to_seconds(entry.get("time")) or 0.0) > since
    }


def job_views(jobs: Iterable[Object], pods: Sequence[Object], now: float = 0.0) -> tuple[JobView, ...]:
    """Describe Jobs with the help of their pods. Jobs without the operator's labels are left out.

    Args:
        now: seconds since the epoch, to detect pods whose node is gone.
    """
    by_job: dict[str, list[Object]] = {}
    for pod in pods:
        by_job.setdefault(labels(pod).get("batch.kubernetes.io/job-name", ""), []).append(pod)
    views = (_job_view(job, by_job.get(job["metadata"]["name"], []), now) for job in jobs)
    return tuple(view for view in views if view is not None)


def follower_views(jobs: Iterable[Object], pods: Sequence[Object]) -> tuple[FollowerView, ...]:
    """Describe the Jobs that log into trackers, with the help of their pods."""
    views = []
    for job in jobs:
        tracker = labels(job).get(o.TRACKER_LABEL)
        if tracker is None or labels(job).get(o.COMPONENT_LABEL) != o.FOLLOWER:
            continue
        name = job["metadata"]["name"]
        own = [pod for pod in pods if labels(pod).get("batch.kubernetes.io/job-name") == name]
        state, reason, message = _state(job, together=False)
        trouble = ""
        if state is JobState.FAILED:
            trouble = _last_message(own, reason) or message
        elif state is JobState.ACTIVE:
            problem = next((found for pod in own if (found := _problem(pod))), None)
            trouble = f"{problem.reason}: {problem.message}".removesuffix(": ") if problem else ""
        alive = state in (JobState.ACTIVE, JobState.SUSPENDED, JobState.TERMINATING)
        views.append(FollowerView(name, tracker, alive, state is JobState.TERMINATING, trouble))
    return tuple(views)


def lacks_pods(job: Object, pods: Sequence[Object], now: float) -> bool:
    """Return whether a Job should have pods and has none. Only its events say why."""
    status, spec = job.get("status") or {}, job.get("spec") or {}
    started = to_seconds(status.get("startTime"))
    if spec.get("suspend") or _condition(job, "Complete") or _condition(job, "Failed") or started is None:
        return False
    name = job["metadata"]["name"]
    has = any(labels(pod).get("batch.kubernetes.io/job-name") == name for pod in pods)
    return not has and not status.get("active") and not status.get("succeeded") and now - started > _NO_PODS_SECONDS


def is_computing(job: Object, now: float) -> bool:
    """Return whether another Experiment may wait for a Job: its pods run, or it is so new that they are about to.

    One that is suspended, cannot be scheduled, is being deleted or belongs to no Experiment may never end.
    """
    status, spec, metadata = job.get("status") or {}, job.get("spec") or {}, job["metadata"]
    owners = metadata.get("ownerReferences") or ()
    if not any(owner.get("kind") == "Experiment" and owner.get("controller") for owner in owners):
        return False
    if spec.get("suspend") or _state(job, _is_multi_node(job))[0] is not JobState.ACTIVE:
        return False
    made = to_seconds(metadata.get("creationTimestamp"))
    return bool(status.get("ready")) or (made is not None and now - made < _NEW_JOB_SECONDS)


def is_owned(body: Object, uid: str) -> bool:
    """Return whether an object belongs to the Experiment of that uid."""
    owners = (body.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("uid") == uid for owner in owners)


def labels(body: Object) -> Mapping[str, str]:
    """Return an object's labels."""
    return body["metadata"].get("labels") or {}


def _job_view(job: Object, pods: list[Object], now: float) -> JobView | None:
    job_labels, status = labels(job), job.get("status") or {}
    key, attempt = job_labels.get(o.KEY_LABEL), job_labels.get(o.ATTEMPT_LABEL, "")
    if key is None or not attempt.isdigit():
        return None
    together = _is_multi_node(job)
    state, reason, message = _state(job, together)
    stuck = together and state is JobState.ACTIVE and any(_is_on_lost_node(pod, now) for pod in pods)
    if stuck:
        state, reason, message = JobState.FAILED, o.DISRUPTED, messages.NODE_GONE
    elif state is JobState.FAILED and together:
        reason = _multi_node_reason(reason, message, pods)
    if state is JobState.FAILED and reason != o.DISRUPTED:
        message = _last_message(pods, reason) or message
    return JobView(
        name=job["metadata"]["name"],
        key=key,
        stage=(job["metadata"].get("annotations") or {}).get(o.STAGE_ANNOTATION) or job_labels.get(o.STAGE_LABEL, key),
        attempt=int(attempt),
        state=state,
        reason=reason,
        message=message,
        started=to_seconds(status.get("startTime")),
        ended=to_seconds(status.get("completionTime") or (_failed(job, together) or {}).get("lastTransitionTime")),
        running_since=min(_starts(pods), default=None),
        running=status.get("ready") or 0,
        problem=next((found for pod in pods if (found := _problem(pod))), None) if state is JobState.ACTIVE else None,
        storage=job_labels.get(o.STORAGE_LABEL, ""),
        stuck=stuck,
    )


def _is_multi_node(job: Object) -> bool:
    """Return whether its pods are the nodes of one training, also for a Job that an earlier version made."""
    several = ((job.get("spec") or {}).get("completions") or 1) > 1
    return several and labels(job).get(o.COMPONENT_LABEL) in TRAINING


def _failed(job: Object, together: bool) -> Object | None:
    """Return the condition of its failure.

    ``FailureTarget`` comes at once, and ``Failed`` when all pods have ended, which a pod on a lost node never does. For
    shards ``Failed`` counts: those that still run would do the same work as the next Job. The other nodes of a training
    that has lost one do no work, so ``FailureTarget`` counts.
    """
    return _condition(job, "Failed") or (_condition(job, "FailureTarget") if together else None)


def _is_on_lost_node(pod: Object, now: float) -> bool:
    """Return whether a pod should have ended long ago: its node is gone, so that nothing ends it or reports its end."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    until = to_seconds(pod["metadata"].get("deletionTimestamp"))  # includes the grace period
    return until is not None and now - until > _NODE_GONE_SECONDS


def _multi_node_reason(reason: str, message: str, pods: list[Object]) -> str:
    """Return why the Job of a training failed. Its pods end one after another, and the first need not be the cause."""
    if reason == "PodFailurePolicy" and f"condition {o.DISRUPTED}" in message:
        return o.DISRUPTED
    return "PodFailurePolicy" if EXIT_BAD_INPUT in _exit_codes(pods) else reason


def _exit_codes(pods: list[Object]) -> set[int]:
    containers = [c for pod in pods for c in (pod.get("status") or {}).get("containerStatuses") or ()]
    return {((each.get("state") or {}).get("terminated") or {}).get("exitCode") or 0 for each in containers}


def _state(job: Object, together: bool) -> tuple[JobState, str, str]:
    failed, complete = _failed(job, together), _condition(job, "Complete")
    if job["metadata"].get("deletionTimestamp"):
        return JobState.TERMINATING, "", ""
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
    """Return when the running containers started."""
    containers = [c for pod in pods for c in (pod.get("status") or {}).get("containerStatuses") or ()]
    running = [(container.get("state") or {}).get("running") or {} for container in containers]
    return [began for each in running if (began := to_seconds(each.get("startedAt"))) is not None]


def _problem(pod: Object) -> PodProblem | None:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return PodProblem("Unschedulable", printable(condition.get("message") or ""))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return PodProblem(waiting["reason"], printable(waiting.get("message") or ""))
    return None


def _last_message(pods: list[Object], reason: str) -> str:
    """Return the last message of a failed Job's stage, from the failed pod that ended last."""
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
    text = " ".join(printable(ended.get("message") or "").split())
    end = f"exit code {ended['exitCode']}"
    if ended.get("reason") not in (None, "", "Error"):
        end = f"{ended['reason']}, {end}"  # such as OOMKilled
        return f"{end}: {text}" if text else end
    return text or end
