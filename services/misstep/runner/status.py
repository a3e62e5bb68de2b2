"""The state of each stage of an experiment, from its plan, its store and the record of its last run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from misstep.artifacts.manifest import Manifest
from misstep.artifacts.progress import Heartbeat
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep.printable import printable
from misstep.processes import is_alive
from misstep.stages.overtrained import measured, policies, stage_warning
from misstep.text import duration_text

FRESH_SECONDS = 60.0
"""A heartbeat younger than this means that a process works on the stage, on this machine or another."""

_SHOWN_COUNTS = 4
"""How many counts of a summary are shown."""


class StageProgress(Protocol):
    """What is read of the store (`misstep.artifacts.watch.StoreWatch`)."""

    def committed_among(self, keys: Sequence[str]) -> frozenset[str]: ...
    def manifests(self, keys: Sequence[str]) -> Mapping[str, Manifest]: ...
    def heartbeats(self, key: str) -> list[Heartbeat]: ...


@dataclass(frozen=True)
class Row:
    """One stage, as ``misstep status`` shows it."""

    stage: str
    key: str
    state: StageState
    took: str = ""
    """How long all its blocks took; of an unfinished stage, how long its processes ran here."""
    detail: str = ""
    warning: str = ""
    """What is suspicious about its result, in full."""

    def as_dict(self) -> dict[str, str]:
        """As JSON-like data."""
        return asdict(self)


def stage_rows(plan: Plan, store: StageProgress, run: Mapping[str, Any] | None, now: float) -> list[Row]:
    """Describe every stage of a plan, in the plan's order.

    Args:
        run: what ``run.json`` holds; None where there is none.
        now: seconds since the epoch.
    """
    committed = store.committed_among([stage.key for stage in plan.stages])
    seconds, errors, running = _from_events(run or {})
    done = {stage.name for stage in plan.stages if stage.key in committed}
    manifests = store.manifests(sorted(committed))
    of_policies = policies(plan.stages)
    rows = []
    for stage in plan.stages:
        if stage.name in done:
            manifest = manifests[stage.key]
            took = duration_text(manifest.timings.seconds)
            warning = stage_warning(stage, measured(manifest.summary)) if stage.key in of_policies else ""
            rows.append(Row(stage.name, stage.key, StageState.DONE, took, summary_text(manifest.summary), warning))
            continue
        took = duration_text(seconds[stage.name]) if stage.name in seconds else ""
        beats = [beat for beat in store.heartbeats(stage.key) if now - beat.updated < FRESH_SECONDS]
        if beats or stage.name in running:
            detail = "; ".join(progress_text(beat) for beat in beats) or "starting"
            rows.append(Row(stage.name, stage.key, StageState.RUNNING, took, detail))
        elif stage.name in errors:
            rows.append(Row(stage.name, stage.key, StageState.FAILED, took, errors[stage.name]))
        else:
            needs = [name for name in plan.dependencies(stage) if name not in done]
            detail = f"for {', '.join(needs[:3])}{' and more' if len(needs) > 3 else ''}" if needs else "ready to run"
            rows.append(Row(stage.name, stage.key, StageState.WAITING, took, detail))
    return rows


def is_running(run: Mapping[str, Any] | None) -> bool:
    """Return whether the run of a record still goes on: it has no outcome, and its process exists."""
    return run is not None and run["outcome"] is None and is_alive(run["pid"])


def _from_events(run: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str], set[str]]:
    """Return the seconds that each stage ran, its last error, and which stages have a process now."""
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


def progress_text(heartbeat: Heartbeat | None) -> str:
    """Return progress as ``1,200/4,000 samples, 85/s, 33 s left``.

    Where there are several blocks, the share of all blocks stands first. Dropped rows and warnings stand last.
    """
    if heartbeat is None:
        return ""
    parts = [f"{heartbeat.done:,}/{heartbeat.total:,} {heartbeat.unit}"]
    if heartbeat.blocks > 1:
        parts.insert(0, f"{heartbeat.fraction:.0%}")
    if heartbeat.rate:
        parts.append(f"{heartbeat.rate:,.0f}/s" if heartbeat.rate >= 10 else f"{heartbeat.rate:.2g}/s")
    if heartbeat.seconds_left is not None:
        parts.append(f"{duration_text(heartbeat.seconds_left)} left")
    dropped = heartbeat.detail.get("dropped")
    if isinstance(dropped, int | float) and dropped:
        parts.append(f"{dropped:,.0f} rows dropped")
    warning = heartbeat.detail.get("warning")
    if isinstance(warning, str) and warning:
        parts.append(warning)
    return printable(", ".join(parts))


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return the first few counts of a manifest's summary, as ``problems 2,000, dropped 3``.

    The share of prompt tokens that an engine found in its prefix cache stands last.
    """
    shown = []
    for name, value in summary.items():
        plain = isinstance(value, int | float | str) and not isinstance(value, bool) and len(str(value)) <= 24
        if not plain or "prefill" in name:
            continue
        text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value
        shown.append(f"{name.replace('_', ' ')} {text}")
    cached = summary.get("cached_prefill_tokens")
    share = [f"{cached / summary['prefill_tokens']:.0%} of prompts cached"] if cached else []
    return printable(", ".join(shown[:_SHOWN_COUNTS] + share))
