"""How many rollouts credit assignment will need. Pure."""

from __future__ import annotations

import math

from misstep.cost.amounts import Work, prompt_tokens
from misstep.cost.draws import correct_counts, distinct, expected, spread
from misstep.cost.expectations import Expectations
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
    """Count prefixes, rollouts and their tokens.

    A wrong solution of T steps and L tokens, with steps of equal length, has L (1 - i/T) tokens left after i steps.
    ``full-scan`` rolls out i = 1 .. T-1; ``sequential`` i = 1 .. min(t, T-1) with its pit at step t; ``bisection``
    log2(T) + 1 prefixes, half way on average. The bare problem's value comes from the samples where these, less the
    wrong one in question, are at least ``best_of``; else it is rolled out too, once per problem.
    """
    assert samples.subset is not None
    steps = min(means.steps, credit.max_steps)
    response = min(means.response_tokens, credit.decoding.max_new_tokens)
    depth, prefixes = _prefixes(credit.estimator, steps, means.pit)
    if 0 < means.shared_prefix < 1:  # the first steps are the shared ones: the prefixes left to roll out are longer
        depth = max(depth, (depth - means.shared_prefix / steps) / (1 - means.shared_prefix))
    negatives = credited(samples, credit, credit.negatives_per_problem, means)
    rolled = negatives * prefixes * (1 - means.shared_prefix)
    bare = _bare_problems(samples, credit, means)
    tokens = rolled * response * (1 - depth) * means.rollout + bare * response
    prompt = prompt_tokens(samples.prompt, means)
    most_negatives = samples.subset.size * min(credit.negatives_per_problem, samples.samples)
    most_negatives = min(most_negatives, credit.max_negatives or most_negatives)
    most = most_negatives * _most_prefixes(credit) * credit.rollouts
    most += (samples.subset.size if bare else 0) * credit.rollouts
    return Work(
        "rollouts",
        (rolled + bare) * credit.rollouts,
        most,
        generated=tokens * credit.rollouts,
        most_generated=most * credit.decoding.max_new_tokens,
        read=rolled * (prompt + response * depth) + bare * prompt,
    )


def _prefixes(estimator: str, steps: float, pit: float) -> tuple[float, float]:
    """Return the mean depth, as a share of the steps, and the number of the prefixes that are rolled out for one wrong
    solution."""
    if steps <= 1:
        return 0.0, 0.0
    if estimator == "full-scan":
        return 0.5, steps - 1
    if estimator == "sequential":
        last = min(max(pit * steps, 1.0), steps - 1)
        return (last + 1) / (2 * steps), last
    return 0.5, min(math.log2(steps) + 1, steps - 1)


def _most_prefixes(credit: p.CreditParams) -> int:
    """Return the most prefixes that one wrong solution can need, without the bare problem. Every search may need all of
    them: bisection too, where its assumption is wrong."""
    return credit.max_steps - 1


def _bare_problems(samples: p.SampleParams, credit: p.CreditParams, means: Expectations) -> float:
    assert samples.subset is not None
    if samples.samples - 1 >= credit.best_of:
        return 0.0
    return min(
        samples.subset.size * wrong_solutions(samples, 1, means, unsolved=True), credit.max_negatives or math.inf
    )
