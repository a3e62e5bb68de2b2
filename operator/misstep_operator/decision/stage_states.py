"""The state of each stage of a plan, from its Jobs, the store and the last status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep_operator import messages, timestamps
from misstep_operator.jobs.job import storage_id
from misstep_operator.jobs.pod import is_multi_node
from misstep_operator.observed import JobState, JobView, Observed

FAIL_JOB = "PodFailurePolicy"
"""The reason of a Job whose stage refused its input with exit code 64. Another attempt cannot help."""


@dataclass(frozen=True)
class StageView:
    """One stage and its state."""

    stage: FrozenStage
    state: StageState
    attempt: int
    """The highest number of its Jobs so far, 0 before the first."""
    ignored_attempts: int
    """How many attempts do not count: those before this generation or before the last retry, and disrupted ones."""
    job: JobView | None = None
    """The Job that runs, or the last one that failed."""
    message: str = ""
    """Why it waits or failed. Of a stage that is done: the warning about its result."""
    wait_start: int = 0
    """When it began to wait for another Experiment's Job, in seconds since the epoch. Kept until the stage is done."""
    refused: bool = False
    """It is ready, and the API server refuses its Job."""
    last_disrupted: int = 0
    """The last disrupted attempt. Each is ignored once, also after its Job is gone."""

    @property
    def failures(self) -> int:
        """Return how many attempts failed and count."""
        attempts = self.attempt - self.ignored_attempts
        none_runs = self.state in (
            StageState.READY,
            StageState.WAITING,
            StageState.FAILED,
            StageState.COMPUTED_ELSEWHERE,
        )
        return attempts if none_runs else max(0, attempts - 1)


def view_stages(observed: Observed, plan: Plan) -> list[StageView]:
    """Describe every stage, in the plan's order."""
    jobs: dict[str, list[JobView]] = {}
    for job in sorted(observed.jobs, key=lambda job: job.attempt):
        jobs.setdefault(job.key, []).append(job)
    before = _last_entries(observed)
    done: set[str] = set()
    found = []
    for stage in plan.stages:
        view = _view(observed, stage, jobs.get(stage.key, []), before.get(stage.key, {}), done)
        if view.state is StageState.DONE:
            done.add(stage.key)
        found.append(view)
    return found


def _last_entries(observed: Observed) -> Mapping[str, Mapping[str, Any]]:
    """Return each stage's entry in the last status, by key."""
    entries = observed.experiment.entries("stages")
    return {entry["key"]: entry for entry in entries if isinstance(entry.get("key"), str)}


def _view(
    observed: Observed, stage: FrozenStage, jobs: list[JobView], before: Mapping[str, Any], done: set[str]
) -> StageView:
    multi_node = is_multi_node(stage)
    attempt, ignored, disrupted = _count_attempts(observed, jobs, before)
    in_other_store = [job for job in jobs if is_in_other_store(job, stage)]
    in_this_store = [job for job in jobs if job not in in_other_store]
    last = in_this_store[-1] if in_this_store else None
    wait_start = _wait_start(observed, before)

    def view(
        state: StageState,
        job: JobView | None,
        message: str = "",
        wait_start: int = wait_start,
        refused: bool = False,
    ) -> StageView:
        return StageView(stage, state, attempt, ignored, job, message, wait_start, refused, disrupted)

    if _is_done(observed, stage, last, before):
        return view(StageState.DONE, last, _warning(observed, stage.key, before), wait_start=0)
    for job in in_other_store:
        if job.alive:
            return view(StageState.TERMINATING, job)
    for job in in_this_store:
        # The other pods of a training that has lost a node cannot work, and one on that node may never end.
        if job.state is JobState.TERMINATING and (observed.experiment.suspend or not multi_node):
            return view(StageState.TERMINATING, job)
        if job.state in (JobState.ACTIVE, JobState.SUSPENDED):
            return view(StageState.RUNNING, job)
    message = _failure_message(stage, last) if last else messages.JOB_GONE
    most = observed.experiment.attempts * (observed.experiment.retries + 1 if multi_node else 1)
    if attempt > ignored and (attempt - ignored >= most or (last and last.reason == FAIL_JOB)):
        return view(StageState.FAILED, last, message)
    message = message if attempt > ignored else ""
    if not all(key in done for key in stage.needs):
        return view(StageState.WAITING, last, message)
    other = observed.elsewhere.get(stage.key)
    if other is not None and observed.now < (wait_start or observed.now) + other.seconds:
        message = messages.computed_elsewhere(stage.name, other.by)
        return view(StageState.COMPUTED_ELSEWHERE, last, message, wait_start or int(observed.now))
    if stage.key in observed.refused:
        message = messages.job_refused(stage.name, observed.refused[stage.key])
        return view(StageState.WAITING, last, message, refused=True)
    return view(StageState.READY, last, message)


def _count_attempts(observed: Observed, jobs: list[JobView], before: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the highest attempt, how many attempts are ignored, and the last disrupted one."""
    attempt = max([job.attempt for job in jobs] + [count_of(before.get("attempt"))])
    ignored, disrupted = count_of(before.get("ignoredAttempts")), count_of(before.get("lastDisruptedAttempt"))
    for job in jobs:
        if job.disrupted and job.attempt > disrupted:
            ignored, disrupted = ignored + 1, job.attempt
    live = any(job.state in (JobState.ACTIVE, JobState.SUSPENDED) for job in jobs)
    experiment = observed.experiment
    if experiment.suspend:  # its Jobs are deleted and have not failed
        ignored = disrupted = attempt
    elif not experiment.is_current or experiment.has_older_status:
        # The Experiment was edited or is to be retried, or its counts are not known: earlier failures do not count.
        ignored = disrupted = attempt - live
    return attempt, min(attempt, ignored), min(attempt, disrupted)


def _wait_start(observed: Observed, before: Mapping[str, Any]) -> int:
    """Return when a stage began to wait for another Experiment, in seconds since the epoch. 0 where it does not."""
    seconds = timestamps.to_seconds(before.get("waitStartTime")) or 0.0
    return min(max(0, int(seconds)), int(observed.now))


def is_in_other_store(job: JobView, stage: FrozenStage) -> bool:
    """Return whether a Job computes its stage in another store than the one that the Experiment names now."""
    return job.storage not in ("", storage_id(stage.storage))


def _is_done(observed: Observed, stage: FrozenStage, last: JobView | None, before: Mapping[str, Any]) -> bool:
    if observed.store.readable:
        return stage.key in observed.store.committed
    complete = last is not None and last.state is JobState.COMPLETE
    same_store = observed.experiment.status.get("storeHash") in (None, storage_id(stage.storage))
    return complete or (same_store and before.get("state") == StageState.DONE)


def _warning(observed: Observed, key: str, before: Mapping[str, Any]) -> str:
    """Return the warning about a result, which is the last known one while the store cannot be read."""
    if observed.store.readable:
        return observed.store.warnings.get(key, "")
    message = before.get("message") if before.get("state") == StageState.DONE else ""
    return message if isinstance(message, str) else ""


def _failure_message(stage: FrozenStage, job: JobView) -> str:
    if job.state is JobState.TERMINATING:
        return messages.JOB_GONE
    return messages.result_missing(stage.name) if job.state is JobState.COMPLETE else job.message


def count_of(value: object) -> int:
    """Return a count from a status, 0 where it is not one: anyone may have edited the status."""
    return value if type(value) is int and 0 < value < 1 << 31 else 0
