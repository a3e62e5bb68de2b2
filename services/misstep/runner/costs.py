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
    """Turn a plan into what the schedule works on; without ``targets`` every stage's result is wanted."""
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
                together=stage.resources.together,
                cost=_SMALL + (tokens if tokens is not None else _trained_tokens(plan, stage)),
            )
        )
    return Graph.of(nodes, targets)


def _trained_tokens(plan: Plan, stage: FrozenStage) -> float:
    """Tokens that pass through a training stage, a pair counted as two rows. A row's length is guessed from the limit
    of a response, as generated tokens are; how much faster training reads a token than sampling writes it is left out.
    """
    match stage.typed_params():
        case p.RftParams() as rft:
            rows = rft.subset.size * (rft.positives.per_problem + rft.positives.with_teacher)
            return rows * rft.optimiser.epochs * _row_tokens(rft.optimiser, rft.selection.decoding)
        case p.SftParams() as sft:
            return sft.subset.size * sft.optimiser.epochs * _row_tokens(sft.optimiser, sft.selection.decoding)
        case p.DpoParams() as dpo:
            pairs, decoding = _pairs(plan, stage)
            return 2 * pairs * dpo.optimiser.epochs * _row_tokens(dpo.optimiser, decoding)
        case p.SampleParams() as sample:  # of a test set whose size is not known before it is read
            return _UNKNOWN_ROWS * sample.samples * sample.decoding.max_new_tokens
    return 0.0


def _row_tokens(optimiser: p.OptimiserParams, decoding: p.DecodingParams) -> int:
    return min(2 * decoding.max_new_tokens, optimiser.max_length)


def _pairs(plan: Plan, stage: FrozenStage) -> tuple[float, p.DecodingParams]:
    pairs = plan.by_key[stage.inputs["pairs"]]
    params = pairs.typed_params()
    sampled = plan.by_key[pairs.inputs["samples"]].typed_params()
    assert isinstance(params, p.PairsParams)
    assert isinstance(sampled, p.SampleParams)
    problems = sampled.subset.size if sampled.subset else _UNKNOWN_ROWS
    return min(problems * params.per_problem, params.max_pairs or math.inf), sampled.decoding
