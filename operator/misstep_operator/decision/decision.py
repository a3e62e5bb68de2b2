"""One pass over one Experiment: what was observed -> what to do and what to say. Pure: no I/O, no clock, no memory.

Everything that a pass needs comes with `Observed`, so that the same observation leads to the same decision, whoever
makes it and how often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep_operator import messages as say
from misstep_operator.decision.stage_states import StageState, StageView, is_elsewhere, view_stages
from misstep_operator.decision.status import State, finished_status, invalid_status, status_of, waiting_status
from misstep_operator.messages import Reason
from misstep_operator.observed import ExperimentView, JobState, JobView, Observed
from misstep_operator.policy.check import PolicyViolation


@dataclass(frozen=True)
class Start:
    """Create a stage's next Job."""

    stage: FrozenStage
    attempt: int


@dataclass(frozen=True)
class Notice:
    """An event for people."""

    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Decision:
    """What a pass comes to. To be carried out in this order: end, start, status, notices."""

    ends: tuple[str, ...] = ()
    """Names of Jobs to delete, with their pods."""
    starts: tuple[Start, ...] = ()
    status: dict[str, Any] | None = None
    """The whole new status; None where the old one stands."""
    notices: tuple[Notice, ...] = ()


def reconcile(seen: Observed) -> Decision:
    """Decide what to do for an Experiment."""
    if finished_status(seen):
        return Decision()
    before = seen.experiment
    if not isinstance(seen.plan, Plan):
        return _changed(before, _without_plan(seen, seen.plan))
    views = view_stages(seen, seen.plan)
    keys = seen.plan.by_key
    ends = _ends(
        job
        for job in seen.jobs
        if before.suspend or job.key not in keys or job.stuck or is_elsewhere(job, keys[job.key])
    )
    starts: tuple[Start, ...] = ()
    failed = any(view.state is StageState.FAILED for view in views)
    # Answered first: where no status can be written, nothing could count attempts, and Jobs would follow without end.
    # And by the plan that the status names: with another one in its place after a crash, keys would change underway.
    noted = seen.experiment.answered and (before.plan_digest or "") == seen.plan_digest
    if noted and not seen.experiment.suspend and not failed:
        starts = tuple(Start(view.stage, view.attempt + 1) for view in views if view.state is StageState.READY)
    status = status_of(seen, seen.plan, views, {start.stage.key for start in starts})
    return _changed(before, Decision(ends, starts, status, _notices(before, views, starts, status)))


def _without_plan(seen: Observed, why: MisstepError) -> Decision:
    ends = _ends(seen.jobs) if seen.experiment.suspend else ()
    if not isinstance(why, BadInput):
        return Decision(ends, status=waiting_status(seen, str(why)))
    reason = Reason.POLICY_VIOLATION if isinstance(why, PolicyViolation) else Reason.INVALID_SPEC
    notice = Notice(reason, str(why), warning=True)
    return Decision(ends, status=invalid_status(seen, reason, str(why)), notices=(notice,))


def _ends(jobs: Iterable[JobView]) -> tuple[str, ...]:
    """Name those that are to be deleted and are not yet."""
    return tuple(sorted(job.name for job in jobs if (job.alive and job.state is not JobState.ENDING) or job.stuck))


def _changed(before: ExperimentView, decision: Decision) -> Decision:
    """Leave out a status that stands already, and what was said with it."""
    if decision.status == dict(before.status):
        return Decision(decision.ends, decision.starts)
    return decision


def _notices(
    before: ExperimentView, views: list[StageView], starts: tuple[Start, ...], status: dict[str, Any]
) -> tuple[Notice, ...]:
    states = {entry.get("key"): entry.get("state") for entry in before.entries("stages")}
    found = []
    starting = {start.stage.key: start.attempt for start in starts}
    for view in views:
        name, key, was = view.stage.name, view.stage.key, states.get(view.stage.key)
        if view.state is StageState.DONE and was not in (None, StageState.DONE):
            found.append(Notice(Reason.STAGE_DONE, say.done(name)))
        elif view.state is StageState.FAILED and was != StageState.FAILED:
            found.append(Notice(Reason.STAGE_FAILED, say.failed(name, view.message), warning=True))
        elif key in starting:
            if view.job is not None and view.job.disrupted:
                message = say.disrupted_retried(name, view.attempt, view.job.message)
                found.append(Notice(Reason.STAGE_RETRIED, message, warning=True))
            elif view.failures:
                message = say.failed_retried(name, view.attempt, view.message)
                found.append(Notice(Reason.STAGE_RETRIED, message, warning=True))
            found.append(Notice(Reason.STAGE_STARTED, say.started(name, starting[key])))
    if status["state"] != before.status.get("state"):
        if status["state"] == State.SUCCEEDED:
            found.append(Notice(Reason.SUCCEEDED, say.succeeded(status["report"])))
        elif status["state"] == State.SUSPENDED:
            found.append(Notice(Reason.SUSPENDED, status["why"]))
    return tuple(found)
