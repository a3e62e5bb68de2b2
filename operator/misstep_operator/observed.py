"""What a pass sees of one Experiment and its surroundings. Plain data: made from the API server's and the store's
answers by ``reconciler.py``, and by hand in tests."""

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
EXPERIMENT_LABEL, STAGE_LABEL, KEY_LABEL, ATTEMPT_LABEL, STORAGE_LABEL = (
    f"misstep.dev/{name}" for name in ("experiment", "stage", "key", "attempt", "storage")
)
STAGE_ANNOTATION = STAGE_LABEL
"""Of Jobs and pods whose label holds only the beginning of the stage's name: the whole."""
RETRY_ANNOTATION = "misstep.dev/retry"
"""Setting it to another text makes a failed Experiment try again."""


DISRUPTED = "DisruptionTarget"
"""Why a Job failed that lost a pod by eviction, or with its node: no failure of its own."""


class JobState(StrEnum):
    """What a Job is doing."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Someone else, for example Kueue, holds it back."""
    COMPLETE = "complete"
    FAILED = "failed"
    ENDING = "ending"
    """Being deleted; its pods may still run."""


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not run, or how it ended."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class JobView:
    """A child Job."""

    name: str
    key: str
    stage: str
    attempt: int
    state: JobState
    reason: str = ""
    """Of a failed Job: the reason in its condition, ``PodFailurePolicy`` or another; or ``DISRUPTED``."""
    message: str = ""
    """Of a failed Job: what its stage said last, else the condition's message."""
    started: float | None = None
    ended: float | None = None
    running_since: float | None = None
    """Seconds since the epoch: the Job's start and end, good or bad; the start of the first of the pods that run."""
    running: int = 0
    """How many of its pods run."""
    trouble: Trouble | None = None
    """Of a Job that is active: why a pod of it does not run."""
    storage: str = ""
    """The store of its stage, by its label; empty where that is not known."""
    stuck: bool = False
    """It has failed, and never says so itself: the node of one of its pods is gone. To be deleted."""

    @property
    def alive(self) -> bool:
        """Return whether it has pods, or may yet get some."""
        return self.state in (JobState.ACTIVE, JobState.SUSPENDED, JobState.ENDING)

    @property
    def disrupted(self) -> bool:
        """Return whether its end counts as no failure."""
        return self.state is JobState.FAILED and self.reason == DISRUPTED


@dataclass(frozen=True)
class StoreView:
    """What the operator may see of the store."""

    committed: frozenset[str] = frozenset()
    """Keys of the plan's stages that are committed."""
    beats: Mapping[str, list[Heartbeat]] = field(default_factory=dict)
    """Key of a running stage -> its shards' heartbeats."""
    accuracies: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Arm and size -> what the report says, once it is committed."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Key of a committed stage -> what its result warns of."""
    error: str = ""
    """Why it cannot be read. Then stages find what is done by themselves."""
    unlisted: str = ""
    """Why the operator does not look at all. Then a complete Job is a stage that is done."""

    @property
    def seen(self) -> bool:
        """Return whether the rest says what the store holds."""
        return not self.error and not self.unlisted


@dataclass(frozen=True)
class Taken:
    """Another Experiment that computes a stage."""

    by: str
    """Its namespace and name."""
    seconds: float
    """How long it is waited for."""


@dataclass(frozen=True)
class ExperimentView:
    """An Experiment as the API server holds it."""

    namespace: str
    name: str
    uid: str
    generation: int
    suspend: bool
    status: Mapping[str, Any]
    retry: str = ""
    """What its annotation ``misstep.dev/retry`` holds."""
    attempts: int = 3
    """How many Jobs of one stage may fail before the Experiment does."""
    retries: int = 3
    """How often a pod of one Job may fail and be replaced. A training over several pods has another Job instead."""

    @property
    def answered(self) -> bool:
        """Return whether its status is about this generation and the last request to try again."""
        current = self.status.get("observedGeneration") == self.generation
        return current and (self.status.get("retry") or "") == self.retry

    @property
    def plan_digest(self) -> str | None:
        """Return the digest of this generation's plan; empty where there is none yet, None where the status is of an
        earlier version, which noted none."""
        if self.status.get("observedGeneration") != self.generation:
            return ""
        if "planDigest" not in self.status and self.entries("stages"):
            return None
        return str(self.status.get("planDigest") or "")

    def entries(self, name: str) -> list[Mapping[str, Any]]:
        """Return a list of its status, ``stages`` or ``conditions``, without what a hand has put in the wrong form."""
        found = self.status.get(name)
        entries = [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
        return [{k: v for k, v in entry.items() if not isinstance(v, list | Mapping)} for entry in entries]


@dataclass(frozen=True)
class Observed:
    """Everything that a pass decides from."""

    experiment: ExperimentView
    plan: Plan | MisstepError
    """The plan frozen for this generation; or why there is none: BadInput where there will be none, another error where
    it cannot be had for now."""
    jobs: tuple[JobView, ...] = ()
    """All child Jobs, also those of earlier generations."""
    taken: Mapping[str, Taken] = field(default_factory=dict)
    """Key -> another Experiment that computes the same in the same store."""
    store: StoreView = StoreView()
    now: float = 0.0
    """Seconds since the epoch."""
    plan_digest: str = ""
    """Of ``plan``."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Key -> why the API server did not take its Job in this pass."""
