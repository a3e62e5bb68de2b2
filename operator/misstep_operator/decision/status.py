"""The status of an Experiment: what `kubectl get` and `kubectl describe` show. Pure.

Nothing in it may change while nothing happens: each change is a write to the API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import Any

from misstep.artifacts.progress import Heartbeat
from misstep.plan.planner import Plan
from misstep.runner.board import duration, seconds_left
from misstep_operator import messages as say
from misstep_operator.decision.stage_states import FAIL_JOB, StageState, StageView
from misstep_operator.jobs.job import storage_id
from misstep_operator.messages import Reason
from misstep_operator.observed import ExperimentView, JobState, Observed, StoreView
from misstep_operator.policy.check import PolicyViolation

_MOST_CHARACTERS = 1000
"""Of one message."""


class State(StrEnum):
    """How an Experiment stands, in one word."""

    INVALID = "Invalid"
    WAITING = "Waiting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


_ENDS: dict[str, str] = {
    State.SUCCEEDED: say.SUCCEEDED,
    State.FAILED: say.FAILED,
    State.INVALID: say.FAILED,
    State.SUSPENDED: say.SUSPENDED,
}
"""State in which an Experiment may rest -> the condition that holds then."""


def finished_status(seen: Observed) -> bool:
    """Tell whether this generation has ended: then nothing is done any more, whatever the store holds."""
    state = seen.experiment.status.get("state")
    if not seen.experiment.answered or not _is_whole(seen.experiment):
        return False
    if state == State.INVALID and refused_by_policy(seen.experiment):
        return isinstance(seen.plan, PolicyViolation)  # the policy may be another by now
    if state in (State.SUCCEEDED, State.INVALID):
        return True
    return bool(state == State.FAILED) and not any(job.alive for job in seen.jobs)


def is_idle(experiment: ExperimentView) -> bool:
    """Tell whether an Experiment needs no pass until someone changes it."""
    if not experiment.answered or not _is_whole(experiment):
        return False
    if experiment.status.get("state") == State.SUSPENDED:
        return bool(experiment.suspend and experiment.status.get("why") == say.suspended(0))
    return experiment.status.get("state") in (State.SUCCEEDED, State.FAILED, State.INVALID)


def refused_by_policy(experiment: ExperimentView) -> bool:
    """Return whether the platform's policy is what keeps an Experiment from running, by its status."""
    failed = (entry for entry in experiment.entries("conditions") if entry.get("type") == say.FAILED)
    return any(entry.get("reason") == Reason.POLICY_VIOLATION for entry in failed)


def _is_whole(experiment: ExperimentView) -> bool:
    """Tell whether an end is written in a status as the operator writes it; a state by hand alone ends nothing."""
    status = experiment.status
    kind = _ENDS.get(str(status.get("state")))
    if not any(c.get("type") == kind and c.get("status") == "True" for c in experiment.entries("conditions")):
        return False
    if status.get("state") != State.SUCCEEDED:
        return True
    entries = experiment.entries("stages")
    return bool(entries) and status.get("total") == len(entries) and all(e.get("state") == "done" for e in entries)


def invalid_status(seen: Observed, reason: Reason, text: str) -> dict[str, Any]:
    """Describe an Experiment that cannot be planned, or may not run; its stages stay as they were."""
    return _unplanned(seen, State.INVALID, reason, text)


def waiting_status(seen: Observed, text: str) -> dict[str, Any]:
    """Describe an Experiment whose plan cannot be had for now; its stages stay as they were."""
    return _unplanned(seen, State.WAITING, Reason.WAITING, text)


def _unplanned(seen: Observed, state: State, reason: Reason, text: str) -> dict[str, Any]:
    before = seen.experiment.status
    kept = {name: before[name] for name in ("stages", "done", "total", "progress", "report") if name in before}
    return {
        **kept,
        **_head(seen, state, _cut(text)),
        "conditions": _conditions(
            seen,
            {
                say.FAILED: (state is State.INVALID, reason, text if state is State.INVALID else ""),
                say.PROGRESSING: (False, reason, text),
            },
        ),
    }


def status_of(seen: Observed, plan: Plan, views: list[StageView], starting: set[str]) -> dict[str, Any]:
    """Describe an Experiment that has a plan.

    Args:
        starting: keys of the stages whose next Job is created in this pass.
    """
    done = sum(view.state is StageState.DONE for view in views)
    failed = next((view for view in views if view.state is StageState.FAILED), None)
    active = [view for view in views if view.state in (StageState.RUNNING, StageState.ENDING)]
    running = [view for view in active if not _obstacle(view)] + [v for v in views if v.stage.key in starting]
    report = f"{plan.storage.uri.rstrip('/')}/{plan.report.key}/report.html"
    if done == len(views):
        state, reason, why = State.SUCCEEDED, Reason.SUCCEEDED, ""
    elif seen.experiment.suspend:
        state, reason, why = State.SUSPENDED, Reason.SUSPENDED, say.suspended(len(active))
    elif failed is not None and not active:
        refused = failed.job is not None and failed.job.reason == FAIL_JOB
        reason = Reason.BAD_INPUT if refused else Reason.STAGE_FAILED
        state, why = State.FAILED, say.failed(failed.stage.name, failed.message)
    elif running:
        state, reason, why = State.RUNNING, Reason.RUNNING, _why(views)
    else:
        state, reason, why = State.WAITING, Reason.WAITING, _why(views)
    text = why or say.running([view.stage.name for view in running])
    over = state in (State.SUCCEEDED, State.FAILED)
    found: dict[str, tuple[bool | None, Reason, str]] = {
        say.SUCCEEDED: (
            state is State.SUCCEEDED,
            reason,
            say.succeeded(report) if state is State.SUCCEEDED else text,
        ),
        say.FAILED: (state is State.FAILED, reason, text if state is State.FAILED else ""),
        say.SUSPENDED: (state is State.SUSPENDED, reason, why if state is State.SUSPENDED else ""),
        say.PROGRESSING: (state is State.RUNNING, reason, "" if over else text),
        say.STORE_READABLE: _readable(seen.store),
    }
    return {
        **_head(seen, state, _cut(why)),
        "done": done,
        "total": len(views),
        "progress": f"{done}/{len(views)}",
        "stage": say.running([view.stage.name for view in running]) if state is State.RUNNING else "",
        "eta": _eta(seen, running) if state is State.RUNNING else "",
        "report": report if state is State.SUCCEEDED else "",
        "conditions": _conditions(seen, found),
        "stages": [_entry(seen, view, view.stage.key in starting) for view in views],
    }


def _head(seen: Observed, state: State, why: str) -> dict[str, Any]:
    return {
        "observedGeneration": seen.experiment.generation,
        "retry": seen.experiment.retry,
        "state": state.value,
        "why": why,
        "planDigest": seen.plan_digest or seen.experiment.plan_digest or "",
        **({"store": storage_id(seen.plan.storage)} if isinstance(seen.plan, Plan) else {}),
    }


def _entry(seen: Observed, view: StageView, starting: bool) -> dict[str, Any]:
    beats = seen.store.beats.get(view.stage.key, [])
    part = sum(beat.fraction for beat in beats) / view.stage.shards if view.state is StageState.RUNNING else 0.0
    entry = {
        "name": view.stage.name,
        "key": view.stage.key,
        "kind": view.stage.kind.value,
        "state": (StageState.RUNNING if starting else view.state).value,
        "attempt": view.attempt + starting,
        "base": view.base,
        "forgiven": view.forgiven,
        "takenSince": view.since,
        "percent": 100 if view.state is StageState.DONE else min(99, round(100 * part)),
        "message": _cut(_obstacle(view) or view.message or _warned(beats)),
    }
    return {name: value for name, value in entry.items() if value not in ("", 0)}


def _warned(beats: list[Heartbeat]) -> str:
    """Return what a stage at work warns of."""
    warnings = (beat.detail.get("warning") for beat in beats)
    return next((text for text in warnings if isinstance(text, str)), "")


def _obstacle(view: StageView) -> str:
    """Say why a stage that has a Job does not get on."""
    if view.job is None or view.state is not StageState.RUNNING:
        return ""
    if view.job.state is JobState.SUSPENDED:
        return say.held(view.stage.name)
    if view.job.trouble is not None:
        return say.blocked(view.stage.name, view.job.trouble.reason, view.job.trouble.message)
    return ""


def _why(views: list[StageView]) -> str:
    """Say what stands in the way; empty where everything goes on."""
    for view in views:
        if view.state is StageState.FAILED:
            return say.failed(view.stage.name, view.message)
    obstacles = [obstacle for view in views if (obstacle := _obstacle(view))]
    held_up = [view.message for view in views if view.state is StageState.TAKEN or view.refused]
    return next(iter(obstacles + held_up), "")


def _eta(seen: Observed, running: list[StageView]) -> str:
    """How long the stages at work will still take, where their heartbeats say; later stages are not counted."""
    beats = [beat for view in running for beat in seen.store.beats.get(view.stage.key, [])]
    left = [seconds for beat in beats if (seconds := seconds_left(beat)) is not None]
    return _coarse(max(left)) if left else ""


def _coarse(seconds: float) -> str:
    """Write a duration in steps: each change of a status is a write, whose event leads to another pass."""
    if seconds <= 50:
        return f"{10 * max(1, ceil(seconds / 10))} s"
    minutes = ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else duration(60 * minutes)


def _readable(store: StoreView) -> tuple[bool | None, Reason, str]:
    if store.unlisted:
        return None, Reason.STORE_NOT_LISTED, store.unlisted
    if store.error:
        return False, Reason.STORE_UNREADABLE, store.error
    return True, Reason.STORE_READABLE, ""


def _conditions(seen: Observed, found: Mapping[str, tuple[bool | None, Reason, str]]) -> list[dict[str, Any]]:
    before = {entry.get("type"): entry for entry in seen.experiment.entries("conditions")}
    now = datetime.fromtimestamp(int(seen.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = []
    for kind in say.CONDITIONS:
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
                "observedGeneration": seen.experiment.generation,
                "lastTransitionTime": old["lastTransitionTime"] if same else now,
            }
        )
    return conditions


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
