"""A plan as people and programs read it: table rows, JSON, a Mermaid graph. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection

from misstep.plan.estimate import estimate
from misstep.plan.planner import Plan

TABLE_HEADER = ("stage", "key", "needs", "shards", "work (at most)", "tokens (at most)", "state")


def table_rows(plan: Plan, committed: Collection[str]) -> list[tuple[str, ...]]:
    """One row a stage, in the plan's order; `committed` holds the keys that the store has."""
    estimates = estimate(plan)
    rows: list[tuple[str, ...]] = []
    for stage in plan.stages:
        found = estimates[stage.name]
        rows.append(
            (
                stage.name,
                stage.key,
                _short_list(plan.dependencies(stage)),
                str(stage.shards),
                f"{found.items:,} {found.unit}" if found.items is not None else "",
                f"{found.tokens:,}" if found.tokens is not None else "",
                "done" if stage.key in committed else "to do",
            )
        )
    return rows


def as_json(plan: Plan, committed: Collection[str]) -> str:
    """The frozen plan with each stage's estimate and whether it is committed, as JSON."""
    estimates = estimate(plan)
    stages = [
        stage.model_dump(mode="json")
        | {
            "needs": plan.dependencies(stage),
            "estimate": estimates[stage.name].model_dump(),
            "committed": stage.key in committed,
        }
        for stage in plan.stages
    ]
    return json.dumps({"experiment": plan.experiment, "stages": stages}, indent=2)


def as_mermaid(plan: Plan, committed: Collection[str]) -> str:
    """The plan as a Mermaid flowchart; committed stages are filled."""
    lines = ["flowchart LR", "  classDef done fill:#d8ecd8,stroke:#3c763d"]
    for stage in plan.stages:
        mark = ":::done" if stage.key in committed else ""
        lines.append(f'  {_node(stage.name)}["{stage.name}"]{mark}')
    for stage in plan.stages:
        lines += [f"  {_node(need)} --> {_node(stage.name)}" for need in plan.dependencies(stage)]
    return "\n".join(lines) + "\n"


def _node(name: str) -> str:
    return name.replace("-", "_")


def _short_list(names: tuple[str, ...], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
