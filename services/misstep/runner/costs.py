"""How long stages will take beside one another, so that the longest chains start first. Only the order matters."""

from __future__ import annotations

from collections.abc import Iterable

from misstep.cost.expectations import expectations
from misstep.cost.work import work_of
from misstep.plan.planner import Plan
from misstep.runner.schedule import Graph, Node

_SMALL = 1_000.0
"""Cost of a stage that neither generates nor trains, in tokens."""


def graph_of(plan: Plan, targets: Iterable[str] | None = None) -> Graph:
    """Turn a plan into what the schedule works on; without ``targets`` every stage's result is wanted.

    A stage costs the tokens that the cost model expects to pass through its model: how much faster training reads a
    token than sampling writes it is left out.
    """
    work = work_of(plan, expectations(plan))
    nodes = [
        Node(
            name=stage.name,
            needs=plan.dependencies(stage),
            shards=stage.shards,
            cpus=stage.resources.cpus,
            memory_mib=stage.resources.memory_mib,
            gpus=stage.resources.gpus,
            distributed=stage.resources.distributed,
            cost=_SMALL + work[stage.name].tokens,
        )
        for stage in plan.stages
    ]
    return Graph.of(nodes, targets)
