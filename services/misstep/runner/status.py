"""How an experiment stands, from its plan, its store and the record of its last run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from misstep.artifacts.manifest import Manifest
from misstep.artifacts.progress import Heartbeat
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep.runner.board import describe, duration, figures
from misstep.stages.overtrained import measured, policies, stage_warning

FRESH_SECONDS = 60.0
"""A heartbeat younger than this means that someone is at work, on whatever machine."""


class Watch(Protocol):
    """What is asked of the store."""

    def committed_among(self, keys: Sequence[str]) -> frozenset[str]: ...
    def manifests(self, keys: Sequence[str]) -> Mapping[str, Manifest]: ...
    def heartbeats(self, key: str) -> list[Heartbeat]: ...


@dataclass(frozen=True)
class Row:
    """One stage."""

    stage: str
    key: str
    state: StageState
    took: str = ""
    """How long its blocks took, all together; of an unfinished stage, how long its processes ran here."""
    detail: str = ""
    warning: str = ""
    """What its result warns of, in full."""

    def as_dict(self) -> dict[str, str]:
        """As JSON-like data."""
        return asdict(self)


def look(plan: Plan, watch: Watch, run: Mapping[str, Any] | None, now: float) -> list[Row]:
    """Describe every stage of a plan, in the plan's order.

    Args:
        run: what ``run.json`` holds, where there is one.
        now: seconds since the epoch.
    """
    committed = watch.committed_among([stage.key for stage in plan.stages])
    seconds, errors, running = _from_events(run or {})
    done = {stage.name for stage in plan.stages if stage.key in committed}
    manifests = watch.manifests(sorted(committed))
    of_policies = policies(plan.stages)
    rows = []
    for stage in plan.stages:
        if stage.name in done:
            manifest = manifests[stage.key]
            took = duration(manifest.timings.seconds)
            warning = stage_warning(stage, measured(manifest.summary)) if stage.key in of_policies else ""
            rows.append(Row(stage.name, stage.key, StageState.DONE, took, figures(manifest.summary), warning))
            continue
        took = duration(seconds[stage.name]) if stage.name in seconds else ""
        beats = [beat for beat in watch.heartbeats(stage.key) if now - beat.updated < FRESH_SECONDS]
        if beats or stage.name in running:
            detail = "; ".join(describe(beat) for beat in beats) or "starting"
            rows.append(Row(stage.name, stage.key, StageState.RUNNING, took, detail))
        elif stage.name in errors:
            rows.append(Row(stage.name, stage.key, StageState.FAILED, took, errors[stage.name]))
        else:
            needs = [name for name in plan.dependencies(stage) if name not in done]
            detail = f"for {', '.join(needs[:3])}{' and more' if len(needs) > 3 else ''}" if needs else "ready to run"
            rows.append(Row(stage.name, stage.key, StageState.WAITING, took, detail))
    return rows


def is_running(run: Mapping[str, Any] | None) -> bool:
    """Tell whether the run of a record goes on: it has no outcome, and its process is there."""
    return run is not None and run["outcome"] is None and Path(f"/proc/{run['pid']}").exists()


def _from_events(run: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str], set[str]]:
    """Return each stage's seconds in processes, its last error, and which stages have a process now."""
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    open_shards: set[tuple[str, int]] = set()
    for event in run.get("events", ()):
        name, shard = event.get("stage"), event.get("shard")
        match event["what"]:
            case "shard-started":
                open_shards.add((name, shard))
            case "shard-ended":
                open_shards.discard((name, shard))
                seconds[name] = seconds.get(name, 0.0) + event["seconds"]
            case "stage-failed":
                errors[name] = event["error"]
    running = {name for name, _ in open_shards} if run and is_running(run) else set()
    return seconds, errors, running
