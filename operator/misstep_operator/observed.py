"""What is known of one Experiment when it is reconciled, as plain data.

``controller.reconciler`` fills it from the API server and the store, and tests by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from misstep.artifacts.progress import Heartbeat
from misstep.errors import MisstepError
from misstep.plan.planner import Plan

NAME_LABEL, MANAGED_LABEL, COMPONENT_LABEL = (
    f"app.kubernetes.io/{name}" for name in ("name", "managed-by", "component")
)
MANAGER = "misstep-operator"
EXPERIMENT_LABEL, STAGE_LABEL, KEY_LABEL, ATTEMPT_LABEL, STORAGE_LABEL, TRACKER_LABEL = (
    f"misstep.dev/{name}" for name in ("experiment", "stage", "key", "attempt", "storage", "tracker")
)
FOLLOWER = "follower"
"""The component of Jobs that log into trackers; that of a stage's Job is its kind."""
STAGE_ANNOTATION = STAGE_LABEL
"""The stage's whole name, on Jobs and pods whose label holds only its beginning."""
RETRY_ANNOTATION = "misstep.dev/retry"
"""A new value makes a failed Experiment try again."""


DISRUPTED = "DisruptionTarget"
"""The reason of a Job that lost a pod by an eviction, or with its node. It does not count as a failure."""


class JobState(StrEnum):
    """The state of a Job."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Another controller, for example Kueue, or a person has suspended it."""
    COMPLETE = "complete"
    FAILED = "failed"
    TERMINATING = "terminating"
    """It is being deleted, and its pods may still run."""


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not run."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class JobView:
    """A Job of an Experiment."""

    name: str
    key: str
    stage: str
    attempt: int
    state: JobState
    reason: str = ""
    """Of a failed Job: the reason in its condition, such as ``PodFailurePolicy``, or ``DISRUPTED``."""
    message: str = ""
    """Of a failed Job: the last message of its stage, or else the condition's message."""
    started: float | None = None
    """Seconds since the epoch, as the two below."""
    ended: float | None = None
    """When it completed or failed."""
    running_since: float | None = None
    """When the first of its running pods started."""
    running: int = 0
    """How many of its pods run."""
    problem: PodProblem | None = None
    """Of an active Job: why one of its pods does not run."""
    storage: str = ""
    """The store of its stage, from its label. Empty where that is not known."""
    stuck: bool = False
    """It has failed and never reports it, since the node of one of its pods is gone. It has to be deleted."""

    @property
    def alive(self) -> bool:
        """Return whether it has pods, or may yet get some."""
        return self.state in (JobState.ACTIVE, JobState.SUSPENDED, JobState.TERMINATING)

    @property
    def disrupted(self) -> bool:
        """Return whether it failed for a reason that does not count."""
        return self.state is JobState.FAILED and self.reason == DISRUPTED


@dataclass(frozen=True)
class FollowerView:
    """A Job that logs an Experiment into a tracker."""

    name: str
    tracker: str
    alive: bool
    """It has a pod, or may yet get one."""
    terminating: bool = False
    trouble: str = ""
    """Why nothing is logged: its Job failed, or its pod does not run."""


@dataclass(frozen=True)
class StoreView:
    """What the operator knows of the store."""

    committed: frozenset[str] = frozenset()
    """Keys of the plan's stages that are committed."""
    heartbeats: Mapping[str, list[Heartbeat]] = field(default_factory=dict)
    """Key of a running stage -> the heartbeats of its shards."""
    accuracies: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Arm and size -> accuracy in the report, once that is committed."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Key of a committed stage -> the warning about its result."""
    error: str = ""
    """Why it cannot be read. Stages themselves still find what is done."""
    unlisted: str = ""
    """Why the operator may not read it. A stage is then done when its Job is complete."""

    @property
    def readable(self) -> bool:
        """Return whether the other fields say what the store holds."""
        return not self.error and not self.unlisted


@dataclass(frozen=True)
class ComputedElsewhere:
    """Another Experiment that computes the same stage."""

    by: str
    """Its namespace and name."""
    seconds: float
    """How long this Experiment waits for it."""


@dataclass(frozen=True)
class ExperimentView:
    """An Experiment, from the API server."""

    namespace: str
    name: str
    uid: str
    generation: int
    suspend: bool
    status: Mapping[str, Any]
    retry: str = ""
    """The value of its annotation ``misstep.dev/retry``."""
    attempts: int = 3
    """How many Jobs of one stage may fail before the Experiment does."""
    retries: int = 3
    """How often a pod of one Job may fail and be replaced. A training over several pods gets another Job instead."""
    trackers: tuple[str, ...] = ()
    """The trackers of ``spec.tracking`` that a pod can log into."""
    not_tracked: Mapping[str, str] = field(default_factory=dict)
    """The others, and why not."""

    @property
    def has_older_status(self) -> bool:
        """Return whether its status was written before ``message`` was a field of it.

        Such a status has other names for its counts, which are then not known.
        """
        return bool(self.status.get("state")) and "message" not in self.status

    @property
    def is_current(self) -> bool:
        """Return whether its status is about this generation and about the last request to try again."""
        same_generation = self.status.get("observedGeneration") == self.generation
        same_retry = self.has_older_status or (self.status.get("observedRetry") or "") == self.retry
        return same_generation and same_retry

    @property
    def plan_digest(self) -> str | None:
        """Return the digest of this generation's plan.

        It is empty where there is no plan yet, and None where an operator wrote the status that knew no digests.
        """
        if self.status.get("observedGeneration") != self.generation:
            return ""
        if "planDigest" not in self.status and self.entries("stages"):
            return None
        return str(self.status.get("planDigest") or "")

    def entries(self, name: str) -> list[Mapping[str, Any]]:
        """Return a list of its status, ``stages`` or ``conditions``, without any value of a wrong type."""
        found = self.status.get(name)
        entries = [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
        return [{k: v for k, v in entry.items() if not isinstance(v, list | Mapping)} for entry in entries]


@dataclass(frozen=True)
class Observed:
    """Everything that a decision is made from."""

    experiment: ExperimentView
    plan: Plan | MisstepError
    """This generation's plan, or why there is none: a BadInput for good, another error for now."""
    jobs: tuple[JobView, ...] = ()
    """All Jobs of the Experiment, also those of earlier generations."""
    elsewhere: Mapping[str, ComputedElsewhere] = field(default_factory=dict)
    """Key -> another Experiment that computes the same stage in the same store."""
    store: StoreView = StoreView()
    now: float = 0.0
    """Seconds since the epoch."""
    plan_digest: str = ""
    """The digest of ``plan``."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Key of a stage, or a tracker -> why the API server refused its Job just now."""
    followers: tuple[FollowerView, ...] = ()
    """All Jobs that log into trackers, also those of earlier generations."""
