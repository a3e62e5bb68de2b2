"""Every reason and message of an Experiment's conditions and events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum


class Reason(StrEnum):
    """Reasons of conditions and events."""

    INVALID_SPEC = "InvalidSpec"
    POLICY_VIOLATION = "PolicyViolation"
    """The platform's policy does not allow what the Experiment names. It starts by itself once the policy allows it."""
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    WAITING = "Waiting"
    """Nothing runs and nothing has failed. The message says what it waits for."""
    SUCCEEDED = "Succeeded"
    STAGE_FAILED = "StageFailed"
    BAD_INPUT = "BadInput"
    """A stage refused its input, with exit code 64."""
    STAGE_STARTED = "StageStarted"
    STAGE_DONE = "StageDone"
    STAGE_RETRIED = "StageRetried"
    STORE_READABLE = "StoreReadable"
    STORE_UNREADABLE = "StoreUnreadable"
    STORE_NOT_LISTED = "StoreNotListed"
    """The operator does not read a store that no administrator has listed."""
    TRACKED = "Tracked"
    """Pods log into all trackers of ``spec.tracking``."""
    NOT_TRACKED = "NotTracked"
    """No pod logs into one of the trackers of ``spec.tracking``, or it has failed."""
    ANOTHER_OPERATOR = "AnotherOperator"


SUCCEEDED, FAILED, SUSPENDED, PROGRESSING, STORE_READABLE, TRACKED = CONDITIONS = (
    "Succeeded",
    "Failed",
    "Suspended",
    "Progressing",
    "StoreReadable",
    "Tracked",
)
"""Types of conditions, in their order in a status."""


JOB_GONE = "its Job is gone: someone deleted it, or its time to live was over"
NODE_GONE = "the node of one of its pods is gone"


def running(names: list[str]) -> str:
    """Stages run."""
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def pod_blocked(stage: str, reason: str, message: str) -> str:
    """A pod of a stage does not run."""
    return f"{stage}: {reason}{f': {message}' if message else ''}"


def job_suspended(stage: str) -> str:
    """Someone else has suspended a stage's Job."""
    return f"{stage}: its Job is suspended, by a queue or by a person"


def computed_elsewhere(stage: str, other: str) -> str:
    """Another Experiment computes the same stage."""
    return f"{stage}: Experiment {other} computes the same stage; its result will be used"


def job_refused(stage: str, message: str) -> str:
    """The API server refuses a stage's Job."""
    return f"{stage}: the API server refuses its Job: {message}"


def plan_refused(message: str) -> str:
    """The API server refuses the ConfigMap of the plan."""
    return f"the API server refuses the ConfigMap for the plan: {message}"


def plan_replaced(name: str) -> str:
    """The ConfigMap of the plan does not hold what the operator has written or would write."""
    return (
        f"the ConfigMap {name} does not hold the plan that this operator made: someone has written it, or another "
        "version of Misstep made it and nothing was started from it. Delete it "
        f"(kubectl delete configmap {name}), and the operator makes the plan again."
    )


def failed(stage: str, message: str) -> str:
    """A stage has failed and is not tried again."""
    return f"{stage}: {message or 'its Job failed'}"


def failed_retried(stage: str, attempt: int, message: str) -> str:
    """A stage's Job has failed, and another one starts."""
    return f"{stage}: attempt {attempt} failed, trying again: {message or 'its Job failed'}"


def disrupted_retried(stage: str, attempt: int, message: str) -> str:
    """A training over several pods was disrupted, and starts again from its checkpoint."""
    return f"{stage}: attempt {attempt} was disrupted, which does not count as a failure; starting again: {message}"


def result_missing(stage: str) -> str:
    """A Job is complete, and its result is not in the store."""
    return f"{stage}: its Job is complete, and its result is not in the store"


_NOT_READ = "Stages use it with their own identity, and a stage counts as done when its Job is complete."


def store_not_listed(namespace: str, uri: str, endpoint: str | None) -> str:
    """The chart's ``stores`` do not list an Experiment's store for its namespace."""
    where = f", endpoint: {json.dumps(endpoint)}" if endpoint else ""
    return (
        f"the operator does not read {uri}{f' at {endpoint}' if endpoint else ''}: the chart's value stores does not "
        f"list it for the namespace {namespace}. {_NOT_READ} An administrator may add "
        f"{{uri: {json.dumps(uri)}{where}, namespaces: [{namespace}]}} to stores."
    )


def store_not_own(uri: str, endpoint: str, own: str) -> str:
    """No store is listed, and an Experiment names another server than the operator's own."""
    return (
        f"the operator does not read {uri} at {endpoint}: the chart's value stores is empty, so the operator reads "
        f"only its own server, {own or 'AWS'}. {_NOT_READ} Leave spec.storage.endpoint out where that is the same "
        f"server; or an administrator lists this one in stores."
    )


def store_uri_ambiguous(uri: str) -> str:
    """Servers may read a URI in more than one way."""
    return (
        f"the operator does not read {json.dumps(uri)}: write s3://BUCKET/PREFIX, where no part is empty, `.` or "
        f"`..` or has a `%`. {_NOT_READ}"
    )


def store_region_wrong(region: str) -> str:
    """A region is not one."""
    return f"the operator does not read it: {json.dumps(region)} in spec.storage.region is not a region. {_NOT_READ}"


def suspended(jobs: int) -> str:
    """The Experiment is suspended, and so many Jobs are still there."""
    if jobs:
        what = "its last Job is" if jobs == 1 else f"{jobs} Jobs are"
        return f"spec.suspend is true; {what} being deleted"
    return "spec.suspend is true; set it to false to continue"


def succeeded(report: str) -> str:
    """All stages are done."""
    return f"the report is at {report}"


FILES_IN_POD = "its files would be in a pod, where nobody could read them"
TRACKER_IN_POD = "localhost is the pod itself there: write a host that pods reach"
NO_TRACKING_IMAGE = "the operator has no image for it: the chart's images.tracking names one"
EXPERIMENT_TOO_LONG = "the Experiment is too long to be given to its pod"


def tracker_not_listed(listed: Sequence[str]) -> str:
    """The platform's policy does not list a tracker."""
    return f"the platform's policy does not list it (policy.rules: trackers); it lists {', '.join(listed) or 'none'}"


def follower_refused(message: str) -> str:
    """The API server refuses the Job that logs into a tracker."""
    return f"the API server refuses its Job: {message}"


def tracked(trackers: Sequence[str]) -> str:
    """Pods log into all trackers."""
    return f"pods log into {', '.join(trackers)} while stages run"


def not_tracked(namespace: str, name: str, reasons: Mapping[str, str]) -> str:
    """No pod logs into some trackers."""
    why = "; ".join(f"{tracker}: {reason}" for tracker, reason in reasons.items())
    return (
        f"not everything is logged by pods. {why}. Where the store and the tracker are reached, run `misstep track "
        f"{name} --namespace {namespace} {' '.join(f'--to {tracker}' for tracker in reasons)}`"
    )


def started(stage: str, attempt: int) -> str:
    """A Job was created."""
    return f"{stage}: started{f', attempt {attempt}' if attempt > 1 else ''}"


def done(stage: str) -> str:
    """A stage's result is committed."""
    return f"{stage}: done"


def another_operator(identity: str) -> str:
    """Two operators work on one Experiment."""
    return (
        f"the operator {identity} works on this Experiment too: install one for a namespace, or give each namespaces "
        "of its own (watchNamespaces)"
    )
