"""How each stage of a plan stands, from its Jobs, the store, and what the last status remembers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep_operator import messages as say
from misstep_operator.jobs.job import storage_id
from misstep_operator.jobs.pod import over_nodes
from misstep_operator.observed import JobState, JobView, Observed

FAIL_JOB = "PodFailurePolicy"
"""Why a Job fails whose stage refused its input (exit code 64): trying again cannot help."""


class StageState(StrEnum):
    """States of a stage."""

    DONE = "done"
    RUNNING = "running"
    ENDING = "ending"
    """Its Job is being deleted."""
    READY = "ready"
    WAITING = "waiting"
    TAKEN = "taken"
    """Another Experiment's Job computes it."""
    FAILED = "failed"
    """For good, unless the Experiment is edited or told to retry."""


@dataclass(frozen=True)
class StageView:
    """One stage in a pass."""

    stage: FrozenStage
    state: StageState
    attempt: int
    """The highest number of its Jobs so far, 0 before the first."""
    base: int
    """Attempts that do not count: those before this generation of the Experiment, or before the last retry, and those
    that were cut short."""
    job: JobView | None = None
    """The Job that runs, or the last one that failed."""
    message: str = ""
    """Why it waits or failed; of a finished stage, what its result warns of."""
    since: int = 0
    """When it began to wait for another Experiment's Job, in seconds since the epoch; remembered until it is done."""
    refused: bool = False
    """It is ready, and the API server does not take its Job."""
    forgiven: int = 0
    """The last attempt that was cut short: each is forgiven once, also when its Job is gone."""

    @property
    def failures(self) -> int:
        """Attempts that failed and count."""
        over = self.state in (StageState.READY, StageState.WAITING, StageState.FAILED, StageState.TAKEN)
        return self.attempt - self.base if over else max(0, self.attempt - self.base - 1)


def view_stages(seen: Observed, plan: Plan) -> list[StageView]:
    """Describe every stage, in the plan's order."""
    jobs: dict[str, list[JobView]] = {}
    for job in sorted(seen.jobs, key=lambda job: job.attempt):
        jobs.setdefault(job.key, []).append(job)
    remembered = _remembered(seen)
    done: set[str] = set()
    found = []
    for stage in plan.stages:
        view = _view(seen, stage, jobs.get(stage.key, []), remembered.get(stage.key, {}), done)
        if view.state is StageState.DONE:
            done.add(stage.key)
        found.append(view)
    return found


def _remembered(seen: Observed) -> Mapping[str, Mapping[str, Any]]:
    """Return the last status of each stage by key."""
    entries = seen.experiment.entries("stages")
    return {entry["key"]: entry for entry in entries if isinstance(entry.get("key"), str)}


def _view(
    seen: Observed, stage: FrozenStage, jobs: list[JobView], remembered: Mapping[str, Any], done: set[str]
) -> StageView:
    together = over_nodes(stage)
    attempt, base, forgiven = _counts(seen, jobs, remembered)
    elsewhere = [job for job in jobs if is_elsewhere(job, stage)]
    here = [job for job in jobs if job not in elsewhere]
    last = here[-1] if here else None
    since = number_of(remembered.get("takenSince"), 1 << 40)

    def view(
        state: StageState, job: JobView | None, message: str = "", since: int = since, refused: bool = False
    ) -> StageView:
        return StageView(stage, state, attempt, base, job, message, since, refused, forgiven)

    if _is_done(seen, stage, last, remembered):
        return view(StageState.DONE, last, _warning(seen, stage.key, remembered), since=0)
    for job in elsewhere:
        if job.alive:
            return view(StageState.ENDING, job)
    for job in here:
        # What is left of a training that has lost a node can do no more work, and may never end on a node that is gone.
        if job.state is JobState.ENDING and (seen.experiment.suspend or not together):
            return view(StageState.ENDING, job)
        if job.state in (JobState.ACTIVE, JobState.SUSPENDED):
            return view(StageState.RUNNING, job)
    message = _why_failed(stage, last) if last else say.GONE
    most = seen.experiment.attempts * (seen.experiment.retries + 1 if together else 1)
    if attempt > base and (attempt - base >= most or (last and last.reason == FAIL_JOB)):
        return view(StageState.FAILED, last, message)
    message = message if attempt > base else ""
    if not all(key in done for key in stage.needs):
        return view(StageState.WAITING, last, message)
    taken = seen.taken.get(stage.key)
    if taken is not None and seen.now < (since or seen.now) + taken.seconds:
        return view(StageState.TAKEN, last, say.taken(stage.name, taken.by), since or int(seen.now))
    if stage.key in seen.refused:
        return view(StageState.WAITING, last, say.refused(stage.name, seen.refused[stage.key]), refused=True)
    return view(StageState.READY, last, message)


def _counts(seen: Observed, jobs: list[JobView], remembered: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the highest attempt, how many do not count, and the last that was forgiven for having been cut short."""
    attempt = max([job.attempt for job in jobs] + [number_of(remembered.get("attempt"))])
    base, forgiven = number_of(remembered.get("base")), number_of(remembered.get("forgiven"))
    for job in jobs:
        if job.disrupted and job.attempt > forgiven:
            base, forgiven = base + 1, job.attempt
    live = any(job.state in (JobState.ACTIVE, JobState.SUSPENDED) for job in jobs)
    if seen.experiment.suspend:  # its Jobs are ended without having failed
        base = forgiven = attempt
    elif not seen.experiment.answered:  # edited, or told to try again: what has failed or was ended no longer counts
        base = forgiven = attempt - live
    return attempt, min(attempt, base), min(attempt, forgiven)


def is_elsewhere(job: JobView, stage: FrozenStage) -> bool:
    """Return whether a Job computes its stage in another store than the Experiment now names."""
    return job.storage not in ("", storage_id(stage.storage))


def _is_done(seen: Observed, stage: FrozenStage, last: JobView | None, remembered: Mapping[str, Any]) -> bool:
    if seen.store.seen:
        return stage.key in seen.store.committed
    complete = last is not None and last.state is JobState.COMPLETE
    same_store = seen.experiment.status.get("store") in (None, storage_id(stage.storage))
    return complete or (same_store and remembered.get("state") == StageState.DONE)


def _warning(seen: Observed, key: str, remembered: Mapping[str, Any]) -> str:
    """What a finished stage's result warns of; as it was last known while the store cannot be read."""
    if seen.store.seen:
        return seen.store.warnings.get(key, "")
    message = remembered.get("message") if remembered.get("state") == StageState.DONE else ""
    return message if isinstance(message, str) else ""


def _why_failed(stage: FrozenStage, job: JobView) -> str:
    if job.state is JobState.ENDING:
        return say.GONE
    return say.unfinished(stage.name) if job.state is JobState.COMPLETE else job.message


def number_of(value: object, below: int = 1 << 31) -> int:
    """Return a count in a status; 0 where a hand has put something else there."""
    return value if type(value) is int and 0 < value < below else 0
