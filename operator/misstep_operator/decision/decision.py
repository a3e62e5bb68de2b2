"""Decide what to do for an Experiment. Pure: no I/O, no clock, no memory.

Everything that a decision needs is in `Observed`. The same observation leads to the same decision, whoever makes it and
however often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep_operator import messages
from misstep_operator.decision.followers import decide_followers
from misstep_operator.decision.stage_states import StageView, is_in_other_store, view_stages
from misstep_operator.decision.status import (
    State,
    finished_status,
    invalid_status,
    status_of,
    waiting_status,
    with_tracking,
)
from misstep_operator.messages import Reason
from misstep_operator.observed import ExperimentView, JobState, JobView, Observed
from misstep_operator.policy.check import PolicyViolation


@dataclass(frozen=True)
class NewJob:
    """The next Job of a stage."""

    stage: FrozenStage
    attempt: int


@dataclass(frozen=True)
class Event:
    """A Kubernetes event about the Experiment."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do, in the order of the fields."""

    jobs_to_delete: tuple[str, ...] = ()
    """Names of Jobs to delete with their pods."""
    jobs_to_create: tuple[NewJob, ...] = ()
    followers_to_create: tuple[str, ...] = ()
    """Trackers of which each gets a Job that logs into it."""
    status: dict[str, Any] | None = None
    """The whole new status. None where the present one stays."""
    events: tuple[Event, ...] = ()


def decide(observed: Observed) -> Decision:
    """Decide what to do for an Experiment."""
    if finished_status(observed):
        return Decision()
    before = observed.experiment
    if not isinstance(observed.plan, Plan):
        return _without_same_status(before, _decide_without_plan(observed, observed.plan))
    views = view_stages(observed, observed.plan)
    keys = observed.plan.by_key
    jobs_to_delete = _jobs_to_delete(
        job
        for job in observed.jobs
        if before.suspend or job.key not in keys or job.stuck or is_in_other_store(job, keys[job.key])
    )
    new_jobs: tuple[NewJob, ...] = ()
    failed = any(view.state is StageState.FAILED for view in views)
    # The status has to be about this generation first. Where no status can be written, nothing would count attempts,
    # and Jobs would be created without end. It also has to name this plan: if another plan took its place after a
    # crash, keys would change while the Experiment runs.
    noted = before.is_current and (before.plan_digest or "") == observed.plan_digest
    if noted and not before.suspend and not failed:
        new_jobs = tuple(NewJob(view.stage, view.attempt + 1) for view in views if view.state is StageState.READY)
    status = status_of(observed, observed.plan, views, {job.stage.key for job in new_jobs})
    followers = decide_followers(observed, State(status["state"]), noted)
    status = with_tracking(observed, status, followers.troubles)
    events = _events(before, views, new_jobs, status)
    return _without_same_status(
        before, Decision(jobs_to_delete + followers.to_delete, new_jobs, followers.to_create, status, events)
    )


def _decide_without_plan(observed: Observed, error: MisstepError) -> Decision:
    jobs_to_delete = _jobs_to_delete(observed.jobs) if observed.experiment.suspend else ()
    if not isinstance(error, BadInput):
        state = State.SUSPENDED if observed.experiment.suspend else State.WAITING
        followers = decide_followers(observed, state, noted=False)
        return Decision(jobs_to_delete + followers.to_delete, status=waiting_status(observed, str(error)))
    jobs_to_delete += decide_followers(observed, State.INVALID, noted=False).to_delete
    reason = Reason.POLICY_VIOLATION if isinstance(error, PolicyViolation) else Reason.INVALID_SPEC
    event = Event(reason, str(error), warning=True)
    return Decision(jobs_to_delete, status=invalid_status(observed, reason, str(error)), events=(event,))


def _jobs_to_delete(jobs: Iterable[JobView]) -> tuple[str, ...]:
    """Return the names of those Jobs that are not being deleted yet."""
    return tuple(sorted(job.name for job in jobs if (job.alive and job.state is not JobState.TERMINATING) or job.stuck))


def _without_same_status(before: ExperimentView, decision: Decision) -> Decision:
    """Leave out a status that is already there, and its events."""
    if decision.status == dict(before.status):
        return replace(decision, status=None, events=())
    return decision


def _events(
    before: ExperimentView, views: list[StageView], new_jobs: tuple[NewJob, ...], status: dict[str, Any]
) -> tuple[Event, ...]:
    states = {entry.get("key"): entry.get("state") for entry in before.entries("stages")}
    found = []
    was_tracked, tracked = (
        next((c for c in entries if c.get("type") == messages.TRACKED), {})
        for entries in (before.entries("conditions"), status["conditions"])
    )
    if tracked.get("status") == "False" and (was_tracked.get("status") != "False" or not before.is_current):
        found.append(Event(Reason.NOT_TRACKED, tracked["message"], warning=True))
    starting = {job.stage.key: job.attempt for job in new_jobs}
    for view in views:
        name, key, was = view.stage.name, view.stage.key, states.get(view.stage.key)
        if view.state is StageState.DONE and was not in (None, StageState.DONE):
            found.append(Event(Reason.STAGE_DONE, messages.done(name)))
        elif view.state is StageState.FAILED and was != StageState.FAILED:
            found.append(Event(Reason.STAGE_FAILED, messages.failed(name, view.message), warning=True))
        elif key in starting:
            if view.job is not None and view.job.disrupted:
                message = messages.disrupted_retried(name, view.attempt, view.job.message)
                found.append(Event(Reason.STAGE_RETRIED, message, warning=True))
            elif view.failures:
                message = messages.failed_retried(name, view.attempt, view.message)
                found.append(Event(Reason.STAGE_RETRIED, message, warning=True))
            found.append(Event(Reason.STAGE_STARTED, messages.started(name, starting[key])))
    if status["state"] != before.status.get("state"):
        if status["state"] == State.SUCCEEDED:
            found.append(Event(Reason.SUCCEEDED, messages.succeeded(status["report"])))
        elif status["state"] == State.SUSPENDED:
            found.append(Event(Reason.SUSPENDED, status["message"]))
    return tuple(found)
