"""The work of each stage, in rows and tokens: as expected, and at most. Pure.

At most: every response at its token limit, every row at its longest, every problem with as many wrong solutions, steps
and pairs as the settings allow. A value without a bound is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from misstep.cost.amounts import Work, prompt_tokens, text_tokens
from misstep.cost.credit_work import credit_work
from misstep.cost.expectations import Expectations
from misstep.cost.training_work import dpo_work, rft_work, sft_work
from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.synthesis import prompts


def work_of(plan: Plan, means: Expectations) -> Mapping[str, Work]:
    """Count every stage's work; stage name -> Work."""
    return {stage.name: _stage(plan, stage, means) for stage in plan.stages}


def _stage(plan: Plan, stage: FrozenStage, means: Expectations) -> Work:
    params = stage.typed_params()
    match params:
        case p.SampleParams():
            return _sample(params, means)
        case p.SynthesizeParams():
            return _synthesize(plan, stage, params, means)
        case p.CreditParams():
            return credit_work(_samples_of(plan, stage), params, means)
        case p.RftParams():
            return rft_work(params, _samples_of(plan, stage), means)
        case p.SftParams():
            return sft_work(params, means)
        case p.DpoParams():
            pairs = plan.by_key[stage.inputs["pairs"]]
            made = pairs.typed_params()
            assert isinstance(made, p.PairsParams)
            return dpo_work(params, made, _samples_of(plan, pairs), _credit_of(plan, pairs), means)
        case p.VerifyParams():
            samples = _samples_of(plan, stage)
            count = _problems(samples, means)
            return Work() if count is None else Work("answers", count * samples.samples, count * samples.samples)
        case _:
            return Work()


def _samples_of(plan: Plan, stage: FrozenStage) -> p.SampleParams:
    params = plan.by_key[stage.inputs["samples"]].typed_params()
    assert isinstance(params, p.SampleParams)
    return params


def _credit_of(plan: Plan, pairs: FrozenStage) -> p.CreditParams | None:
    if "credit" not in pairs.inputs:
        return None
    params = plan.by_key[pairs.inputs["credit"]].typed_params()
    assert isinstance(params, p.CreditParams)
    return params


def _problems(params: p.SampleParams, means: Expectations) -> int | None:
    if params.subset is not None:
        return params.subset.size
    if params.split == "validation":
        return params.limit
    known = [count for count in (params.limit, means.test_problems) if count is not None]
    return min(known, default=None)


def _sample(params: p.SampleParams, means: Expectations) -> Work:
    problems = _problems(params, means)
    if problems is None:
        return Work("samples")
    count = problems * params.samples
    limit = params.decoding.max_new_tokens
    return Work(
        "samples",
        count,
        count,
        generated=count * min(means.response_tokens, limit),
        most_generated=count * limit,
        read=problems * prompt_tokens(params.prompt, means),
    )


def _synthesize(plan: Plan, stage: FrozenStage, params: p.SynthesizeParams, means: Expectations) -> Work:
    """For each new problem the question, its check and its solutions, as if every problem got that far; never above the
    budget.

    A local teacher reads a problem once for all its solutions; an endpoint gets it, and charges for it, each time.
    """
    ingest = plan.by_key[stage.inputs["seeds"]].typed_params()
    assert isinstance(ingest, p.ProblemsParams)
    seeds = ingest.train.limit or means.train_problems
    if seeds is None:
        return Work("requests")
    seeds = max(1, seeds - ingest.held_out)
    question, limit, style = means.question_tokens, params.decoding.max_new_tokens, params.answer_style
    readings = params.solutions if params.endpoint_model else 1
    read = readings * (_around(prompts.solve("", style)) + question)
    generated, requests = params.solutions * min(means.solution_tokens, limit), params.solutions
    if params.new_per_seed:
        read += _around(prompts.write("", style)) + question + _around(prompts.check("", style, "")) + 2 * question
        generated += 2 * min(question, limit)
        requests += 2
    drafts = seeds * max(1, params.new_per_seed)
    most = drafts * requests * limit
    budget = params.budget
    allowed = budget.max_tokens or math.inf
    part = min(1.0, allowed / (drafts * (read + generated)))
    if budget.max_cost is not None:
        price = (read * (budget.price_input or 0) + generated * (budget.price_output or 0)) / 1e6
        part = min(part, budget.max_cost / (drafts * price)) if price else part
    return Work(
        "requests",
        drafts * requests * part,
        drafts * requests,
        generated=drafts * generated * part,
        most_generated=int(min(most, allowed)),
        read=drafts * read * part,
    )


def _around(messages: Sequence[tuple[str, str]]) -> float:
    return text_tokens([content for _, content in messages], turns=len(messages))
