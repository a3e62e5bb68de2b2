"""The status of an Experiment, which `kubectl get` and `kubectl describe` show. Pure.

It must not change while nothing happens, since each change is a write to the API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import ceil
from typing import Any

from misstep.artifacts.progress import Heartbeat
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep.text import duration_text
from misstep_operator import messages, timestamps
from misstep_operator.decision.stage_states import FAIL_JOB, StageView
from misstep_operator.jobs.job import storage_id
from misstep_operator.messages import Reason
from misstep_operator.observed import ExperimentView, JobState, Observed, StoreView
from misstep_operator.policy.check import PolicyViolation

_MAX_CHARACTERS = 1000
"""In one message."""


class State(StrEnum):
    """The state of an Experiment."""

    INVALID = "Invalid"
    WAITING = "Waiting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


_ENDS: dict[str, str] = {
    State.SUCCEEDED: messages.SUCCEEDED,
    State.FAILED: messages.FAILED,
    State.INVALID: messages.FAILED,
    State.SUSPENDED: messages.SUSPENDED,
}
"""State in which an Experiment may need no work -> the condition that then is true."""


def finished_status(observed: Observed) -> bool:
    """Return whether this generation has ended. Then there is nothing to do, whatever the store holds."""
    state = observed.experiment.status.get("state")
    if not observed.experiment.is_current or not _is_consistent(observed.experiment):
        return False
    if state == State.INVALID and refused_by_policy(observed.experiment):
        return isinstance(observed.plan, PolicyViolation)  # the policy may have changed
    if state in (State.SUCCEEDED, State.INVALID):
        return True
    return bool(state == State.FAILED) and not any(job.alive for job in observed.jobs)


def is_idle(experiment: ExperimentView) -> bool:
    """Return whether an Experiment need not be reconciled until someone changes it."""
    if not experiment.is_current or not _is_consistent(experiment):
        return False
    if experiment.status.get("state") == State.SUSPENDED:
        return bool(experiment.suspend and experiment.status.get("message") == messages.suspended(0))
    return experiment.status.get("state") in (State.SUCCEEDED, State.FAILED, State.INVALID)


def refused_by_policy(experiment: ExperimentView) -> bool:
    """Return whether an Experiment does not run because of the platform's policy, according to its status."""
    failed = (entry for entry in experiment.entries("conditions") if entry.get("type") == messages.FAILED)
    return any(entry.get("reason") == Reason.POLICY_VIOLATION for entry in failed)


def _is_consistent(experiment: ExperimentView) -> bool:
    """Return whether a status that names an end has the condition and the stages of that end too.

    Someone who edits only the state by hand ends nothing.
    """
    status = experiment.status
    kind = _ENDS.get(str(status.get("state")))
    if not any(c.get("type") == kind and c.get("status") == "True" for c in experiment.entries("conditions")):
        return False
    if status.get("state") != State.SUCCEEDED:
        return True
    entries = experiment.entries("stages")
    return (
        bool(entries)
        and status.get("total") == len(entries)
        and all(e.get("state") == StageState.DONE for e in entries)
    )


def invalid_status(observed: Observed, reason: Reason, text: str) -> dict[str, Any]:
    """Describe an Experiment that cannot be planned, or may not run. Its stages keep their entries."""
    return _unplanned(observed, State.INVALID, reason, text)


def waiting_status(observed: Observed, text: str) -> dict[str, Any]:
    """Describe an Experiment whose plan is not available now. Its stages keep their entries."""
    return _unplanned(observed, State.WAITING, Reason.WAITING, text)


def _unplanned(observed: Observed, state: State, reason: Reason, text: str) -> dict[str, Any]:
    before = observed.experiment.status
    kept = {name: before[name] for name in ("stages", "completed", "total", "progress", "report") if name in before}
    return {
        **kept,
        **_head(observed, state, _cut(text)),
        "conditions": _conditions(
            observed,
            {
                messages.FAILED: (state is State.INVALID, reason, text if state is State.INVALID else ""),
                messages.PROGRESSING: (False, reason, text),
            },
        ),
    }


def status_of(observed: Observed, plan: Plan, views: list[StageView], starting: set[str]) -> dict[str, Any]:
    """Describe an Experiment that has a plan.

    Args:
        starting: keys of the stages whose next Job is created now.
    """
    done = sum(view.state is StageState.DONE for view in views)
    failed = next((view for view in views if view.state is StageState.FAILED), None)
    active = [view for view in views if view.state in (StageState.RUNNING, StageState.TERMINATING)]
    running = [view for view in active if not _obstacle(view)] + [v for v in views if v.stage.key in starting]
    report = f"{plan.storage.uri.rstrip('/')}/{plan.report.key}/report.html"
    if done == len(views):
        state, reason, message = State.SUCCEEDED, Reason.SUCCEEDED, ""
    elif observed.experiment.suspend:
        state, reason, message = State.SUSPENDED, Reason.SUSPENDED, messages.suspended(len(active))
    elif failed is not None and not active:
        refused = failed.job is not None and failed.job.reason == FAIL_JOB
        reason = Reason.BAD_INPUT if refused else Reason.STAGE_FAILED
        state, message = State.FAILED, messages.failed(failed.stage.name, failed.message)
    elif running:
        state, reason, message = State.RUNNING, Reason.RUNNING, _first_obstacle(views)
    else:
        state, reason, message = State.WAITING, Reason.WAITING, _first_obstacle(views)
    text = message or messages.running([view.stage.name for view in running])
    ended = state in (State.SUCCEEDED, State.FAILED)
    found: dict[str, tuple[bool | None, Reason, str]] = {
        messages.SUCCEEDED: (
            state is State.SUCCEEDED,
            reason,
            messages.succeeded(report) if state is State.SUCCEEDED else text,
        ),
        messages.FAILED: (state is State.FAILED, reason, text if state is State.FAILED else ""),
        messages.SUSPENDED: (state is State.SUSPENDED, reason, message if state is State.SUSPENDED else ""),
        messages.PROGRESSING: (state is State.RUNNING, reason, "" if ended else text),
        messages.STORE_READABLE: _readable(observed.store),
    }
    return {
        **_head(observed, state, _cut(message)),
        "completed": done,
        "total": len(views),
        "progress": f"{done}/{len(views)}",
        "runningStages": messages.running([view.stage.name for view in running]) if state is State.RUNNING else "",
        "eta": _eta(observed, running) if state is State.RUNNING else "",
        "report": report if state is State.SUCCEEDED else "",
        "conditions": _conditions(observed, found),
        "stages": [_entry(observed, view, view.stage.key in starting) for view in views],
    }


def with_tracking(observed: Observed, status: dict[str, Any], troubles: Mapping[str, str] | None) -> dict[str, Any]:
    """Add to a status whether pods log into all trackers.

    Args:
        troubles: tracker -> why not; None where the Experiment names no tracker.
    """
    if troubles is None:
        return status
    view = observed.experiment
    if troubles:
        found = (False, Reason.NOT_TRACKED, messages.not_tracked(view.namespace, view.name, troubles))
    else:
        found = (True, Reason.TRACKED, messages.tracked(view.trackers))
    return {**status, "conditions": [*status["conditions"], *_conditions(observed, {messages.TRACKED: found})]}


def _head(observed: Observed, state: State, message: str) -> dict[str, Any]:
    return {
        "observedGeneration": observed.experiment.generation,
        "observedRetry": observed.experiment.retry,
        "state": state.value,
        "message": message,
        "planDigest": observed.plan_digest or observed.experiment.plan_digest or "",
        **({"storeHash": storage_id(observed.plan.storage)} if isinstance(observed.plan, Plan) else {}),
    }


def _entry(observed: Observed, view: StageView, starting: bool) -> dict[str, Any]:
    heartbeats = observed.store.heartbeats.get(view.stage.key, [])
    part = (
        sum(heartbeat.fraction for heartbeat in heartbeats) / view.stage.shards
        if view.state is StageState.RUNNING
        else 0.0
    )
    entry = {
        "name": view.stage.name,
        "key": view.stage.key,
        "kind": view.stage.kind.value,
        "state": (StageState.RUNNING if starting else view.state).value,
        "attempt": view.attempt + starting,
        "ignoredAttempts": view.ignored_attempts,
        "lastDisruptedAttempt": view.last_disrupted,
        "waitStartTime": timestamps.to_text(view.wait_start) if view.wait_start else "",
        "percent": 100 if view.state is StageState.DONE else min(99, round(100 * part)),
        "message": _cut(_obstacle(view) or view.message or _heartbeat_warning(heartbeats)),
    }
    return {name: value for name, value in entry.items() if value not in ("", 0)}


def _heartbeat_warning(heartbeats: list[Heartbeat]) -> str:
    """Return the warning of a running stage."""
    warnings = (heartbeat.detail.get("warning") for heartbeat in heartbeats)
    return next((text for text in warnings if isinstance(text, str)), "")


def _obstacle(view: StageView) -> str:
    """Return why a stage that has a Job makes no progress. Empty where it does."""
    if view.job is None or view.state is not StageState.RUNNING:
        return ""
    if view.job.state is JobState.SUSPENDED:
        return messages.job_suspended(view.stage.name)
    if view.job.problem is not None:
        return messages.pod_blocked(view.stage.name, view.job.problem.reason, view.job.problem.message)
    return ""


def _first_obstacle(views: list[StageView]) -> str:
    """Return what prevents progress. Empty where nothing does."""
    for view in views:
        if view.state is StageState.FAILED:
            return messages.failed(view.stage.name, view.message)
    obstacles = [obstacle for view in views if (obstacle := _obstacle(view))]
    waiting = [view.message for view in views if view.state is StageState.COMPUTED_ELSEWHERE or view.refused]
    return next(iter(obstacles + waiting), "")


def _eta(observed: Observed, running: list[StageView]) -> str:
    """Return the time until the running stages are done, where their heartbeats say. Later stages do not count."""
    heartbeats = [heartbeat for view in running for heartbeat in observed.store.heartbeats.get(view.stage.key, [])]
    left = [heartbeat.seconds_left for heartbeat in heartbeats if heartbeat.seconds_left is not None]
    return _coarse(max(left)) if left else ""


def _coarse(seconds: float) -> str:
    """Write a duration in steps, since each change of a status is a write and makes the operator reconcile again."""
    if seconds <= 50:
        return f"{10 * max(1, ceil(seconds / 10))} s"
    minutes = ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else duration_text(60 * minutes)


def _readable(store: StoreView) -> tuple[bool | None, Reason, str]:
    if store.unlisted:
        return None, Reason.STORE_NOT_LISTED, store.unlisted
    if store.error:
        return False, Reason.STORE_UNREADABLE, store.error
    return True, Reason.STORE_READABLE, ""


def _conditions(observed: Observed, found: Mapping[str, tuple[bool | None, Reason, str]]) -> list[dict[str, Any]]:
    before = {entry.get("type"): entry for entry in observed.experiment.entries("conditions")}
    now = timestamps.to_text(observed.now)
    conditions = []
    for kind in messages.CONDITIONS:
        if kind not in found:
            continue
        value, reason, message = found[kind]
        status = "Unknown" if value is None else "True" if value else "False"
        old = before.get(kind, {})
        same = old.get("status") == status and isinstance(old.get("lastTransitionTime"), str)
        conditions.append(
            {
                "type": kind,
                "status": status,
                "reason": reason.value,
                "message": _cut(message),
                "observedGeneration": observed.experiment.generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
            }
        )
    return conditions


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
