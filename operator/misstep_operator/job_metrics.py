"""Metrics of Jobs, each counted once: how long they took, how they failed, how long GPUs waited and worked.

Counters begin at zero with the process, as Prometheus expects. Nothing counts twice after a restart: the end of a Job
counts where this process has seen the Job alive, or the Experiment's last status has it running; a gap counts where
this process has seen all of it; and GPU time counts from one reconcile to the next. GPU time and gaps while no operator
ran are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep_operator.observed import DISRUPTED, ExperimentView, JobState, JobView, Observed

_KINDS = {kind.value for kind in StageKind}
_DURATIONS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_GAPS = (1, 2, 5, 15, 60, 300, 900, 3600)
_REASONS = (
    *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"),
    DISRUPTED,
)
"""Reasons of failed Jobs in Kubernetes. Others are counted as Other."""


@dataclass
class _JobHistory:
    """What is remembered of one Experiment and its Jobs."""

    uid: str
    request: tuple[int, str, bool]
    """The last generation, retry and suspend, ..."""
    request_seen: float
    """... and when they were first seen."""
    reconciled: float
    """When it was last reconciled."""
    alive: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    """Names of Jobs that were seen alive, whose end was counted, and whose first pod was counted."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Name of a Job -> GPUs of its pods when it was last reconciled."""
    last_success: float = 0.0


class JobMetrics:
    """Counters by kind of stage, over all Experiments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histories: dict[tuple[str, str], _JobHistory] = {}
        self._seconds = Histogram(
            "misstep_stage_duration_seconds",
            "Time from a Job's start to its completion.",
            ["kind"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self._gaps = Histogram(
            "misstep_stage_gap_seconds",
            "Time from the end of the last Job that a stage needs to the start of its first pod.",
            ["kind"],
            buckets=_GAPS,
            registry=registry,
        )
        self._failures = Counter(
            "misstep_stage_failures",
            "Failed Jobs by the reason in their condition. Another follows while spec.cluster.attempts allows.",
            ["kind", "reason"],
            registry=registry,
        )
        self._gpu_seconds = Counter(
            "misstep_stage_gpu_seconds",
            "GPUs of running pods of stages, times seconds.",
            ["kind"],
            registry=registry,
        )
        # From zero, so that the first count is an increase.
        for kind in StageKind:
            for metric in (self._seconds, self._gaps, self._gpu_seconds):
                metric.labels(kind.value)
            for reason in _REASONS:
                self._failures.labels(kind.value, reason)

    def record(self, view: ExperimentView, observed: Observed) -> None:
        """Count what was observed.

        Args:
            view: with the status before this reconcile.
        """
        # Anyone who may create Jobs may set this label, and each kind makes a series.
        observed = replace(observed, jobs=tuple(job for job in observed.jobs if _kind(job.key) in _KINDS))
        request = (view.generation, view.retry, view.suspend)
        history = self._histories.get((view.namespace, view.name))
        if history is None or history.uid != view.uid:
            history = self._histories[view.namespace, view.name] = _JobHistory(
                view.uid, request, observed.now, observed.now
            )
        if history.request != request:
            history.request, history.request_seen = request, observed.now
        stages = observed.plan.by_key if isinstance(observed.plan, Plan) else {}
        self._count_ends(history, view, observed)
        self._count_gpus(history, observed, stages)
        for job in observed.jobs:
            if job.running_since is not None and job.name not in history.started:
                history.started.add(job.name)
                self._count_gap(history, job, observed, stages.get(job.key))

    def forget(self, namespace: str, name: str) -> None:
        """Drop a deleted Experiment."""
        self._histories.pop((namespace, name), None)

    def last_successes(self) -> Iterator[tuple[str, str, float]]:
        """Yield namespace and name of each Experiment with a completed Job, and when the last one completed."""
        for (namespace, name), history in sorted(self._histories.items()):
            if history.last_success:
                yield namespace, name, history.last_success

    def _count_ends(self, history: _JobHistory, view: ExperimentView, observed: Observed) -> None:
        before = {entry.get("key"): entry for entry in view.entries("stages")}
        for job in observed.jobs:
            if job.state is JobState.COMPLETE:
                history.last_success = max(history.last_success, job.ended or 0.0)
            if job.alive:
                history.alive.add(job.name)
                continue
            # A stage is done once its result is in the store, which is before its Job is complete.
            was_alive = job.name in history.alive or _is_running(before.get(job.key, {}), job.attempt)
            if not was_alive or job.name in history.ended:
                continue
            history.ended.add(job.name)
            if job.state is JobState.FAILED:
                self._failures.labels(_kind(job.key), job.reason if job.reason in _REASONS else "Other").inc()
            elif job.started is not None and job.ended is not None:
                self._seconds.labels(_kind(job.key)).observe(job.ended - job.started)

    def _count_gpus(self, history: _JobHistory, observed: Observed, stages: Mapping[str, FrozenStage]) -> None:
        """Add the GPU time since the last reconcile. A Job that is gone adds none, since its end is not known."""
        for job in observed.jobs:
            gpus = history.gpus.get(job.name, 0)
            if gpus:
                until = observed.now if job.ended is None else min(job.ended, observed.now)
                self._gpu_seconds.labels(_kind(job.key)).inc(gpus * max(0.0, until - history.reconciled))
        history.reconciled = observed.now
        running = [job for job in observed.jobs if job.alive and job.key in stages]
        history.gpus = {job.name: job.running * stages[job.key].resources.gpus for job in running}

    def _count_gap(self, history: _JobHistory, job: JobView, observed: Observed, stage: FrozenStage | None) -> None:
        assert job.running_since is not None
        if stage is None or job.attempt > 1:
            return
        ends = [each.ended for each in observed.jobs if each.key in stage.needs and each.state is JobState.COMPLETE]
        last = max(filter(None, ends), default=0.0)
        if last >= history.request_seen:  # else someone has only just requested this stage
            self._gaps.labels(_kind(job.key)).observe(max(0.0, job.running_since - last))


def _is_running(entry: Mapping[str, Any], attempt: int) -> bool:
    return entry.get("state") in (StageState.RUNNING, StageState.TERMINATING) and entry.get("attempt") == attempt


def _kind(key: str) -> str:
    return key.rpartition("-")[0]
