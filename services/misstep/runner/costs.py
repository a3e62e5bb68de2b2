"""How long stages will take beside one another, so that the longest chains start first. Only the order matters."""

from __future__ import annotations

import math
from collections.abc import Iterable

from misstep.plan import params as p
from misstep.plan.estimate import estimate
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.runner.schedule import Graph, Node

_SMALL = 1_000.0
"""Cost of a stage that neither generates nor trains, in tokens."""
_UNKNOWN_ROWS = 1_000


def graph_of(plan: Plan, targets: Iterable[str] | None = None) -> Graph:
    """Turn a plan into what the schedule works on; without ``targets`` the report is wanted."""
    found = estimate(plan)
    nodes = []
    for stage in plan.stages:
        tokens = found[stage.name].tokens
        nodes.append(
            Node(
                name=stage.name,
                needs=plan.dependencies(stage),
                shards=stage.shards,
                cpus=stage.resources.cpus,
                memory_mib=stage.resources.memory_mib,
                cost=_SMALL + (tokens if tokens is not None else _trained_tokens(plan, stage)),
            )
        )
    return Graph.of(nodes, [plan.report.name] if targets is None else targets)


def _trained_tokens(plan: Plan, stage: FrozenStage) -> float:
    """Tokens that pass through a training stage: each row at its length limit, a pair as two rows."""
    match stage.typed_params():
        case p.RftParams() as rft:
            rows = rft.subset.size * (rft.positives.per_problem + rft.positives.with_teacher)
            return rows * rft.optimiser.epochs * rft.optimiser.max_length
        case p.SftParams() as sft:
            return sft.subset.size * sft.optimiser.epochs * sft.optimiser.max_length
        case p.DpoParams() as dpo:
            return 2 * _pairs(plan, stage) * dpo.optimiser.epochs * dpo.optimiser.max_length
        case p.SampleParams() as sample:  # of a test set whose size is not known before it is read
            return _UNKNOWN_ROWS * sample.samples * sample.decoding.max_new_tokens
    return 0.0


def _pairs(plan: Plan, stage: FrozenStage) -> float:
    pairs = plan.by_key[stage.inputs["pairs"]]
    params = pairs.typed_params()
    sampled = plan.by_key[pairs.inputs["samples"]].typed_params()
    assert isinstance(params, p.PairsParams)
    assert isinstance(sampled, p.SampleParams)
    problems = sampled.subset.size if sampled.subset else _UNKNOWN_ROWS
    return min(problems * params.per_problem, params.max_pairs or math.inf)
