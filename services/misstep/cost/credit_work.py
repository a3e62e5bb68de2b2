"""How many rollouts credit assignment will need. Pure."""

from __future__ import annotations

import math

from misstep.cost.amounts import Work, prompt_tokens
from misstep.cost.draws import correct_counts, distinct, expected, spread
from misstep.cost.expectations import Expectations
from misstep.credit.work import expected_draws
from misstep.plan import params as p


def wrong_solutions(samples: p.SampleParams, limit: int, means: Expectations, *, unsolved: bool = False) -> float:
    """Return the mean number of distinct wrong solutions per problem, at most ``limit`` for each problem.

    Args:
        unsolved: also count those of problems that no response solved; nothing is learned from them.
    """
    chances = correct_counts(means.correct, spread(means.correct, means.solved, samples.samples), samples.samples)
    wrong_of_rest = means.wrong / (1 - means.correct) if means.correct < 1 else 0.0

    def taken(correct: int, wrong: int) -> float:
        return min(limit, distinct(wrong, means.repeated_wrong)) if correct or unsolved else 0.0

    return expected(chances, wrong_of_rest, taken)


def credited(samples: p.SampleParams, credit: p.CreditParams, limit: int, means: Expectations) -> float:
    """Return how many wrong solutions of problems that were solved at least once will be credited, with at most
    ``limit`` for each problem."""
    assert samples.subset is not None
    return min(samples.subset.size * wrong_solutions(samples, limit, means), credit.max_negatives or math.inf)


def credit_work(samples: p.SampleParams, credit: p.CreditParams, means: Expectations) -> Work:
    """Count rollouts and their tokens: those of the negatives, of the audit's scans, and of the positives.

    A solution of T steps and L tokens, with steps of equal length, has L (1 - i/T) tokens left after i steps
    (`misstep.credit.work`). The bare problem's value comes from the samples where these, less the one in question, are
    at least ``best_of``; else each of these parts rolls it out, once per problem.
    """
    assert samples.subset is not None
    steps = min(means.steps, credit.max_steps)
    response = min(means.response_tokens, credit.decoding.max_new_tokens)
    negatives = credited(samples, credit, credit.negatives_per_problem, means)
    bare = _bare_problems(samples, credit, means)
    scans = 1 if credit.estimator == "full-scan" else 2
    parts = [
        (negatives, expected_draws(credit.estimator, steps, means.pit, credit.rollouts)),
        (
            negatives * credit.audit_percent / 100 * scans,
            expected_draws("full-scan", steps, means.pit, credit.rollouts),
        ),
        (_positives(samples, credit, means), expected_draws("full-scan", steps, means.pit, credit.rollouts)),
    ]
    rollouts = tokens = read = 0.0
    prompt = prompt_tokens(samples.prompt, means)
    for responses, needed in parts:
        depth = needed.depth
        if 0 < means.shared_prefix < 1:  # the first steps are the shared ones: the prefixes left are longer
            depth = max(depth, (depth - means.shared_prefix / steps) / (1 - means.shared_prefix))
        drawn = responses * needed.rollouts * (1 - means.shared_prefix)
        rollouts += drawn
        tokens += drawn * response * (1 - depth) * means.rollout
        read += responses * needed.requests * (1 - means.shared_prefix) * (prompt + response * depth)
    if credit.estimator == "adaptive":
        read += negatives * (prompt + response)  # for the log-probabilities of the steps
    most = _most_rollouts(samples, credit, scans, bare=bool(bare))
    return Work(
        "rollouts",
        rollouts + bare * credit.rollouts,
        most,
        generated=tokens + bare * response * credit.rollouts,
        most_generated=most * credit.decoding.max_new_tokens,
        read=read + bare * prompt,
    )


def _positives(samples: p.SampleParams, credit: p.CreditParams, means: Expectations) -> float:
    """Return how many distinct correct solutions are credited."""
    assert samples.subset is not None
    if not credit.positives_per_problem:
        return 0.0
    chances = correct_counts(means.correct, spread(means.correct, means.solved, samples.samples), samples.samples)
    limit = credit.positives_per_problem

    def taken(correct: int, _wrong: int) -> float:
        return min(limit, distinct(correct, means.repeated_correct))

    return samples.subset.size * expected(chances, 0.0, taken)


def _most_rollouts(samples: p.SampleParams, credit: p.CreditParams, scans: int, *, bare: bool) -> int:
    """Return the most rollouts that may be needed. Every search may need all prefixes of a solution: bisection too,
    where its assumption is wrong."""
    assert samples.subset is not None
    problems, each = samples.subset.size, samples.samples
    negatives = problems * min(credit.negatives_per_problem, each)
    negatives = min(negatives, credit.max_negatives or negatives)
    scanned = negatives * scans if credit.audit_percent else 0
    positives = problems * min(credit.positives_per_problem, each)
    passes = 1 + (scans if scanned else 0) + bool(positives)
    return ((negatives + scanned + positives) * (credit.max_steps - 1) + problems * passes * bare) * credit.rollouts


def _bare_problems(samples: p.SampleParams, credit: p.CreditParams, means: Expectations) -> float:
    assert samples.subset is not None
    if samples.samples - 1 >= credit.best_of:
        return 0.0
    return min(
        samples.subset.size * wrong_solutions(samples, 1, means, unsolved=True), credit.max_negatives or math.inf
    )
