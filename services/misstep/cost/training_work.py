"""The work of training runs: rows, steps, tokens, and the answers that choose the checkpoint. Pure."""

from __future__ import annotations

import math

from misstep.cost.amounts import Work, prompt_tokens
from misstep.cost.credit_work import credited, wrong_solutions
from misstep.cost.draws import correct_counts, distinct, expected, spread
from misstep.cost.expectations import Expectations
from misstep.plan import params as p
from misstep.terms.layouts import LUCKY, ONE_STEP, TEACHER

LUCKY_SHARE = 0.1
"""Share of credited correct solutions that give a pair of ``lucky-step``: a guess. Of 44 of the quickstart's task, in
which a wrong step is never made good, it was none."""


def sft_work(params: p.SftParams, means: Expectations) -> Work:
    """The teacher's solution of every problem, once per epoch."""
    size = params.subset.size
    tokens = prompt_tokens(params.prompt, means) + means.solution_tokens
    own = min(size, params.selection.problems) if params.policy else 0
    return _training(params.optimiser, size, size, tokens, params.scorings, params.prompt, means, own=own)


def rft_work(params: p.RftParams, samples: p.SampleParams, means: Expectations) -> Work:
    """The policy's distinct correct solutions, limited per problem, plus the teacher's if asked for."""
    size, positives = params.subset.size, params.positives
    chances = correct_counts(means.correct, spread(means.correct, means.solved, samples.samples), samples.samples)
    own = size * expected(
        chances, 0.0, lambda correct, _: min(positives.per_problem, distinct(correct, means.repeated_correct))
    )
    teacher = size * positives.with_teacher
    prompt = prompt_tokens(params.prompt, means)
    rows = own + teacher
    tokens = prompt + (own * means.response_tokens + teacher * means.solution_tokens) / rows if rows else 0.0
    most = size * (min(positives.per_problem, samples.samples) + positives.with_teacher)
    return _training(params.optimiser, rows, most, tokens, params.selection, params.prompt, means)


def dpo_work(
    params: p.DpoParams,
    pairs: p.PairsParams,
    samples: p.SampleParams,
    credit: p.CreditParams | None,
    means: Expectations,
) -> Work:
    """Both sides of every pair, with the common prefix counted once. The reference reads them once more, forward only.

    Mean tokens of a pair, with R tokens a response, S a teacher's solution, P a prompt, T steps, pit t: whole solutions
    P + 2R; ``teacher`` P + S + R; ``whole-response`` P + R + R t/T; ``shared-prefix`` and its controls P + R + R/T (a
    correct solution from the prefix on, and one step against it). Further pairs of one wrong solution
    (``per_negative``) count at most, but are not expected. A common prefix that whole solutions have by chance is not
    known, and not subtracted.
    """
    assert samples.subset is not None
    size = samples.subset.size
    most = min(size * min(pairs.per_problem, samples.samples * pairs.per_negative), pairs.max_pairs or math.inf)
    if credit is None:
        count = size * wrong_solutions(samples, pairs.per_problem, means)
        rejected = 1.0
    else:
        each = credit.positives_per_problem if pairs.layout == LUCKY else credit.negatives_per_problem
        limit = min(pairs.per_problem, each)
        if pairs.layout == LUCKY:
            count = LUCKY_SHARE * size * min(limit, means.correct * samples.samples)
        else:
            count = credited(samples, credit, limit, means) * means.pairs
            most = min(most, (credit.max_negatives or math.inf) * pairs.per_negative)
        step = 1 / means.steps
        rejected = step if pairs.layout in ONE_STEP else max(means.pit, step)
        most = min(most, size * each * pairs.per_negative)
    count = min(count, pairs.max_pairs or math.inf)
    chosen = means.solution_tokens if pairs.layout == TEACHER else means.response_tokens
    tokens = prompt_tokens(params.prompt, means) + chosen + means.response_tokens * rejected
    work = _training(params.optimiser, count, int(most), tokens, params.selection, params.prompt, means, sides=2)
    return Work(**{**vars(work), "scored": count * min(tokens, 2 * params.optimiser.max_length)})


def _training(
    optimiser: p.OptimiserParams,
    rows: float,
    most_rows: int,
    tokens: float,
    selection: p.SelectionParams | None,
    prompt: p.PromptParams,
    means: Expectations,
    *,
    sides: int = 1,
    own: int = 0,
) -> Work:
    """Count rows of this many tokens (of all ``sides``) over the epochs, and the scorings between them: on validation
    problems, and on this many of the model's ``own`` training problems."""
    longest = sides * optimiser.max_length
    stopped = means.epochs if selection is not None and selection.patience is not None else 1.0
    epochs = optimiser.epochs * stopped
    read = generated = most_generated = 0.0
    if selection is not None:
        scorings = len({min(epoch, optimiser.epochs) for epoch in (*selection.epochs, optimiser.epochs)})
        answers = scorings * (selection.problems + own)
        limit = selection.decoding.max_new_tokens
        generated = answers * stopped * min(means.response_tokens, limit)
        read = answers * stopped * prompt_tokens(prompt, means)
        most_generated = answers * limit
    return Work(
        "steps",
        math.ceil(rows / optimiser.batch_size) * epochs,
        math.ceil(most_rows / optimiser.batch_size) * optimiser.epochs,
        generated=generated,
        most_generated=int(most_generated),
        read=read,
        trained=rows * min(tokens, longest) * epochs,
        most_trained=most_rows * longest * optimiser.epochs,
    )
