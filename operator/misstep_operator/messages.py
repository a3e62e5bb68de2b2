"""Every reason and message that an Experiment's status and events can have, side by side."""

from __future__ import annotations

import json
from enum import StrEnum


class Reason(StrEnum):
    """Reasons of conditions and events."""

    INVALID_SPEC = "InvalidSpec"
    POLICY_VIOLATION = "PolicyViolation"
    """The platform's policy does not allow what the Experiment names; it goes on by itself once the policy does."""
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    WAITING = "Waiting"
    """Nothing runs, and nothing has failed: the message says for what."""
    SUCCEEDED = "Succeeded"
    STAGE_FAILED = "StageFailed"
    BAD_INPUT = "BadInput"
    """A stage refused what it was given: exit code 64."""
    STAGE_STARTED = "StageStarted"
    STAGE_DONE = "StageDone"
    STAGE_RETRIED = "StageRetried"
    STORE_READABLE = "StoreReadable"
    STORE_UNREADABLE = "StoreUnreadable"
    STORE_NOT_LISTED = "StoreNotListed"
    """The operator does not look: it would lend its identity to whoever wrote the Experiment."""
    ANOTHER_OPERATOR = "AnotherOperator"


SUCCEEDED, FAILED, SUSPENDED, PROGRESSING, STORE_READABLE = CONDITIONS = (
    "Succeeded",
    "Failed",
    "Suspended",
    "Progressing",
    "StoreReadable",
)
"""Types of conditions, in the order in which they stand in a status."""


GONE = "its Job is gone: deleted by hand, or by its ttl"
LOST = "the node of one of its pods is gone"


def running(names: list[str]) -> str:
    """Stages are at work."""
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def blocked(stage: str, reason: str, message: str) -> str:
    """A pod of a stage does not run."""
    return f"{stage}: {reason}{f': {message}' if message else ''}"


def held(stage: str) -> str:
    """A Job is suspended by someone else."""
    return f"{stage}: its Job is suspended, by a queue or by hand"


def taken(stage: str, other: str) -> str:
    """Another Experiment computes the same."""
    return f"{stage}: Experiment {other} computes the same stage; its result will be used"


def refused(stage: str, message: str) -> str:
    """The API server does not take a stage's Job."""
    return f"{stage}: the API server refuses its Job: {message}"


def refused_plan(message: str) -> str:
    """The API server does not take the ConfigMap that keeps the plan."""
    return f"the API server refuses the ConfigMap that is to keep the plan: {message}"


def foreign_plan(name: str) -> str:
    """A ConfigMap stands where the plan belongs, and is not what the operator has put or would put there."""
    return (
        f"the ConfigMap {name} does not hold the plan that this operator made: someone has written it, or another "
        "version of Misstep made it and nothing was started from it. Delete it "
        f"(kubectl delete configmap {name}), and the plan is made again."
    )


def failed(stage: str, message: str) -> str:
    """A stage has failed for good."""
    return f"{stage}: {message or 'its Job failed'}"


def failed_retried(stage: str, attempt: int, message: str) -> str:
    """A stage's Job has failed and another one follows."""
    return f"{stage}: attempt {attempt} failed, trying again: {message or 'its Job failed'}"


def disrupted_retried(stage: str, attempt: int, message: str) -> str:
    """A training over several pods has lost one through no fault of its own, and starts again from its checkpoint."""
    return f"{stage}: attempt {attempt} was cut short, which counts as no failure; starting again: {message}"


def unfinished(stage: str) -> str:
    """A Job says that it is complete, and its result is not in the store."""
    return f"{stage}: its Job is complete, and its result is not in the store"


_UNSEEN = "Stages use it with their own identity, and what is done is counted from Jobs."


def not_listed(namespace: str, uri: str, endpoint: str | None) -> str:
    """No entry of the chart's ``stores`` lets an Experiment's namespace name its store."""
    where = f", endpoint: {json.dumps(endpoint)}" if endpoint else ""
    return (
        f"the operator does not look at {uri}{f' at {endpoint}' if endpoint else ''}: no entry of the chart's value "
        f"stores has it for the namespace {namespace}. {_UNSEEN} An administrator may add "
        f"{{uri: {json.dumps(uri)}{where}, namespaces: [{namespace}]}} to stores."
    )


def not_own(uri: str, endpoint: str, own: str) -> str:
    """Nothing is listed, and an Experiment names another server than the operator's own."""
    return (
        f"the operator does not look at {uri} at {endpoint}: the chart's value stores is empty, and it then asks no "
        f"server but its own, {own or 'AWS'}. {_UNSEEN} Leave spec.storage.endpoint out where that is the same server; "
        f"or an administrator lists this one in stores."
    )


def odd_place(uri: str) -> str:
    """A URI that servers may read in more than one way."""
    return (
        f"the operator does not look at {json.dumps(uri)}: write s3://BUCKET/PREFIX, where no part is empty, `.` or "
        f"`..` or has a `%`. {_UNSEEN}"
    )


def odd_region(region: str) -> str:
    """A region that is none."""
    return f"the operator does not look: {json.dumps(region)} in spec.storage.region is no region. {_UNSEEN}"


def suspended(ending: int) -> str:
    """The Experiment is suspended."""
    if ending:
        what = "its last Job is" if ending == 1 else f"{ending} Jobs are"
        return f"spec.suspend is true; {what} being ended"
    return "spec.suspend is true; set it to false to go on"


def succeeded(report: str) -> str:
    """All is done."""
    return f"the report is at {report}"


def started(stage: str, attempt: int) -> str:
    """A Job was created."""
    return f"{stage}: started{f', attempt {attempt}' if attempt > 1 else ''}"


def done(stage: str) -> str:
    """A stage's result is committed."""
    return f"{stage}: done"


def another_operator(identity: str) -> str:
    """Two operators at work on one Experiment."""
    return (
        f"the operator {identity} works on this Experiment too: install one for a namespace, or give each namespaces "
        "of its own (watchNamespaces)"
    )
