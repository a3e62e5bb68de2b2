"""What comes of Jobs, counted once each: how long they took, how they failed, how long GPUs waited and worked.

Counters begin at zero with the process, which Prometheus understands. So that a restart counts nothing twice, the end
of a Job counts where this process saw it alive, or the Experiment's status, which outlives a restart, still has it
running; a gap where all of it was seen by this process; and GPU time from pass to pass. What happened while no operator
ran is in no GPU time and no gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from misstep.plan.frozen import FrozenStage, StageKind
from misstep.plan.planner import Plan
from misstep_operator.decision.stage_states import StageState
from misstep_operator.observed import DISRUPTED, ExperimentView, JobState, JobView, Observed

_KINDS = {kind.value for kind in StageKind}
_DURATIONS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_GAPS = (1, 2, 5, 15, 60, 300, 900, 3600)
_REASONS = (
    *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"),
    DISRUPTED,
)
"""Why Jobs fail, in the words of Kubernetes; others are counted too."""


@dataclass
class _Book:
    """What is remembered of one Experiment."""

    uid: str
    asked: tuple[int, str, bool]
    """Generation, retry, suspend: what was asked for last, ..."""
    since: float
    """... and when that was first seen."""
    at: float
    """The last pass."""
    alive: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    """Names of Jobs that were alive once, whose end has been counted, and whose first pod."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Name of a Job -> GPUs that its pods held at the last pass."""
    success: float = 0.0


class Accounts:
    """Counts by kind of stage, over all Experiments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._books: dict[tuple[str, str], _Book] = {}
        self._seconds = Histogram(
            "misstep_stage_duration_seconds",
            "Time from a Job's start to its completion.",
            ["kind"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self._gaps = Histogram(
            "misstep_stage_gap_seconds",
            "Time from the end of the last Job that a stage waited for to the start of its first pod.",
            ["kind"],
            buckets=_GAPS,
            registry=registry,
        )
        self._failures = Counter(
            "misstep_stage_failures",
            "Jobs that failed, by the reason in their condition; another follows while spec.cluster.attempts allows.",
            ["kind", "reason"],
            registry=registry,
        )
        self._gpu_seconds = Counter(
            "misstep_stage_gpu_seconds",
            "GPUs that pods of stages held, times seconds.",
            ["kind"],
            registry=registry,
        )
        # From zero, so that the first count is an increase.
        for kind in StageKind:
            for metric in (self._seconds, self._gaps, self._gpu_seconds):
                metric.labels(kind.value)
            for reason in _REASONS:
                self._failures.labels(kind.value, reason)

    def saw(self, view: ExperimentView, seen: Observed) -> None:
        """Enter what a pass saw.

        Args:
            view: with the status as it was before the pass.
        """
        # Labels are anyone's who may make Jobs, and each kind is a series.
        seen = replace(seen, jobs=tuple(job for job in seen.jobs if _kind(job.key) in _KINDS))
        asked = (view.generation, view.retry, view.suspend)
        book = self._books.get((view.namespace, view.name))
        if book is None or book.uid != view.uid:
            book = self._books[view.namespace, view.name] = _Book(view.uid, asked, seen.now, seen.now)
        if book.asked != asked:
            book.asked, book.since = asked, seen.now
        stages = seen.plan.by_key if isinstance(seen.plan, Plan) else {}
        self._count_ends(book, view, seen)
        self._count_gpus(book, seen, stages)
        for job in seen.jobs:
            if job.running_since is not None and job.name not in book.started:
                book.started.add(job.name)
                self._count_gap(book, job, seen, stages.get(job.key))

    def forget(self, namespace: str, name: str) -> None:
        """Drop a deleted Experiment."""
        self._books.pop((namespace, name), None)

    def successes(self) -> Iterator[tuple[str, str, float]]:
        """Yield namespace and name of each Experiment that has had a success, with the time of the last."""
        for (namespace, name), book in sorted(self._books.items()):
            if book.success:
                yield namespace, name, book.success

    def _count_ends(self, book: _Book, view: ExperimentView, seen: Observed) -> None:
        before = {entry.get("key"): entry for entry in view.entries("stages")}
        for job in seen.jobs:
            if job.state is JobState.COMPLETE:
                book.success = max(book.success, job.ended or 0.0)
            if job.alive:
                book.alive.add(job.name)
                continue
            # A stage is done once its result is in the store, which is before its Job is.
            known = job.name in book.alive or _is_running(before.get(job.key, {}), job.attempt)
            if not known or job.name in book.ended:
                continue
            book.ended.add(job.name)
            if job.state is JobState.FAILED:
                self._failures.labels(_kind(job.key), job.reason if job.reason in _REASONS else "Other").inc()
            elif job.started is not None and job.ended is not None:
                self._seconds.labels(_kind(job.key)).observe(job.ended - job.started)

    def _count_gpus(self, book: _Book, seen: Observed, stages: Mapping[str, FrozenStage]) -> None:
        """Add what was held since the last pass; of a Job that is gone nobody knows for how long."""
        for job in seen.jobs:
            held = book.gpus.get(job.name, 0)
            if held:
                until = seen.now if job.ended is None else min(job.ended, seen.now)
                self._gpu_seconds.labels(_kind(job.key)).inc(held * max(0.0, until - book.at))
        book.at = seen.now
        running = [job for job in seen.jobs if job.alive and job.key in stages]
        book.gpus = {job.name: job.running * stages[job.key].resources.gpus for job in running}

    def _count_gap(self, book: _Book, job: JobView, seen: Observed, stage: FrozenStage | None) -> None:
        assert job.running_since is not None
        if stage is None or job.attempt > 1:
            return
        ends = [each.ended for each in seen.jobs if each.key in stage.needs and each.state is JobState.COMPLETE]
        last = max(filter(None, ends), default=0.0)
        if last >= book.since:  # else somebody has only just asked for what follows
            self._gaps.labels(_kind(job.key)).observe(max(0.0, job.running_since - last))


def _is_running(entry: Mapping[str, Any], attempt: int) -> bool:
    return entry.get("state") in (StageState.RUNNING, StageState.ENDING) and entry.get("attempt") == attempt


def _kind(key: str) -> str:
    return key.rpartition("-")[0]
