"""How much a plan will generate and train, before anything has run. Pure.

Upper bounds: how long responses will be is not known, so each is counted at its token limit, and each wrong solution
at ``max_steps`` steps where credit scans them all. ``misstep status`` shows what was really generated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage, StageKind
from misstep.plan.planner import Plan


class Estimate(BaseModel):
    """What one stage will at most do."""

    model_config = ConfigDict(frozen=True)
    items: int | None = None
    """How many of `unit`; None where it depends on data that no plan can see."""
    unit: str = ""
    tokens: int | None = None
    """Tokens to generate, at most."""


def estimate(plan: Plan) -> Mapping[str, Estimate]:
    """Estimate every stage; stage name -> Estimate."""
    return {stage.name: _stage(plan, stage) for stage in plan.stages}


def _stage(plan: Plan, stage: FrozenStage) -> Estimate:
    params = stage.typed_params()
    match params:
        case p.SampleParams():
            problems = params.subset.size if params.subset else params.limit
            if problems is None:
                problems = _test_problems(plan)
            if problems is None:
                return Estimate(unit="samples")
            count = problems * params.samples
            return Estimate(items=count, unit="samples", tokens=count * params.decoding.max_new_tokens)
        case p.SynthesizeParams():
            return _synthesize(plan, params)
        case p.CreditParams():
            return _credit(plan, stage, params)
        case p.SftParams():
            steps = math.ceil(params.subset.size / params.optimiser.batch_size) * params.optimiser.epochs
            return Estimate(items=steps, unit="steps")
        case _:
            return Estimate()


def _test_problems(plan: Plan) -> int | None:
    source = next(s for s in plan.stages if s.kind is StageKind.PROBLEMS).typed_params()
    assert isinstance(source, p.ProblemsParams)
    return source.test.limit


def _synthesize(plan: Plan, params: p.SynthesizeParams) -> Estimate:
    source = next(s for s in plan.stages if s.kind is StageKind.PROBLEMS).typed_params()
    assert isinstance(source, p.ProblemsParams)
    if source.train.limit is None:
        return Estimate(unit="requests", tokens=params.budget.max_tokens)
    # Of each new problem: the question, its check, its solutions.
    per_seed = params.new_per_seed * (2 + params.solutions) if params.new_per_seed else params.solutions
    requests = source.train.limit * per_seed
    tokens = requests * params.decoding.max_new_tokens
    return Estimate(items=requests, unit="requests", tokens=min(tokens, params.budget.max_tokens or tokens))


def _credit(plan: Plan, stage: FrozenStage, params: p.CreditParams) -> Estimate:
    sampled = plan.by_key[stage.inputs["samples"]].typed_params()
    assert isinstance(sampled, p.SampleParams) and sampled.subset is not None
    negatives = sampled.subset.size * min(params.negatives_per_problem, sampled.samples)
    if params.max_negatives is not None:
        negatives = min(negatives, params.max_negatives)
    prefixes = {
        "full-scan": params.max_steps,
        "sequential": params.max_steps,
        "bisection": math.ceil(math.log2(params.max_steps)) + 2,
    }[params.estimator]
    rollouts = negatives * prefixes * params.rollouts
    return Estimate(items=rollouts, unit="rollouts", tokens=rollouts * params.decoding.max_new_tokens)
