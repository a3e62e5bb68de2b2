"""A plan as table rows, JSON, or a Mermaid graph. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from misstep.cost import PlanCost, StageCost
from misstep.cost.memory import Memory
from misstep.cost.show import amounts
from misstep.plan.planner import Plan

STAGE_HEADER = ("stage", "key", "needs", "shards", "work", "tokens", "at most", "hours", "state")


def stage_rows(plan: Plan, cost: PlanCost, committed: Collection[str]) -> list[tuple[str, ...]]:
    """One row per stage, in the plan's order."""
    return [
        (
            stage.name,
            stage.key,
            _short_list(plan.dependencies(stage)),
            str(stage.shards),
            *amounts([cost.stages[stage.name]]),
            "done" if stage.key in committed else "to do",
        )
        for stage in plan.stages
    ]


def as_json(plan: Plan, cost: PlanCost, committed: Collection[str]) -> str:
    """The frozen plan with each stage's cost and whether it is committed, as JSON."""
    stages = [
        stage.model_dump(mode="json")
        | {
            "needs": plan.dependencies(stage),
            "cost": _cost_json(cost.stages[stage.name]),
            "committed": stage.key in committed,
        }
        for stage in plan.stages
    ]
    shapes = {"model": cost.coster.model, "teacher": cost.coster.teacher}
    whole = {
        "gpu_hours": round(cost.hours(on_gpu=True), 3),
        "core_hours": round(cost.hours(on_gpu=False), 3),
        "expected": asdict(cost.coster.means),
        **{role: None if shape is None else shape.model_dump() for role, shape in shapes.items()},
    }
    return json.dumps({"experiment": plan.experiment, "cost": whole, "stages": stages}, indent=2)


def as_mermaid(plan: Plan, committed: Collection[str]) -> str:
    """The plan as a Mermaid flowchart; committed stages are filled."""
    lines = ["flowchart LR", "  classDef done fill:#d8ecd8,stroke:#3c763d"]
    for stage in plan.stages:
        mark = ":::done" if stage.key in committed else ""
        lines.append(f'  {_node(stage.name)}["{stage.name}"]{mark}')
    for stage in plan.stages:
        lines += [f"  {_node(need)} --> {_node(stage.name)}" for need in plan.dependencies(stage)]
    return "\n".join(lines) + "\n"


def _cost_json(cost: StageCost) -> dict[str, Any]:
    return {
        **asdict(cost.work),
        "gpu_hours" if cost.on_gpu else "core_hours": cost.hours,
        "memory": _memory_json(cost.memory),
        "most_memory": _memory_json(cost.most_memory),
    }


def _memory_json(memory: Memory | None) -> dict[str, Any] | None:
    return None if memory is None else {"mib": round(memory.mib, 1), "terms": [asdict(t) for t in memory.terms]}


def _node(name: str) -> str:
    return name.replace("-", "_")


def _short_list(names: tuple[str, ...], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
