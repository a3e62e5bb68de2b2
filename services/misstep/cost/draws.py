"""How many of a problem's responses are right or wrong, for problems of different difficulty.

A problem's success rate p is taken to be Beta-distributed over problems (mean: the share of correct responses; spread:
chosen so that the share of problems solved at least once matches). The number of correct responses among n is then
beta-binomial. Each other response is wrong with a fixed probability, else unreadable or cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

_STEPS = 60
"""Bisection steps of the search for the spread: more would not change a digit that is shown."""


@lru_cache(maxsize=256)
def spread(correct: float, solved: float, samples: int) -> float:
    """Return a + b of the Beta distribution with mean ``correct`` for which ``samples`` responses solve a share
    ``solved`` of the problems at least once.

    Values that no Beta distribution gives are clipped: all problems equal (infinite a + b, taken as 1e6), or each
    solved always or never (taken as 1e-3).
    """
    low, high = math.log(1e-3), math.log(1e6)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        unsolved = correct_counts(correct, math.exp(middle), samples)[0]
        low, high = (middle, high) if 1 - unsolved < solved else (low, middle)
    return math.exp((low + high) / 2)


@lru_cache(maxsize=256)
def correct_counts(correct: float, spread_: float, samples: int) -> tuple[float, ...]:
    """Return the probability of 0, 1, ... ``samples`` correct responses of one problem."""
    if correct <= 0 or correct >= 1:
        always = samples if correct >= 1 else 0
        return tuple(1.0 if count == always else 0.0 for count in range(samples + 1))
    a, b = correct * spread_, (1 - correct) * spread_
    whole = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return tuple(
        math.comb(samples, k)
        * math.exp(math.lgamma(a + k) + math.lgamma(b + samples - k) - math.lgamma(a + b + samples) - whole)
        for k in range(samples + 1)
    )


def expected(counts: tuple[float, ...], wrong_of_rest: float, value: Callable[[int, int], float]) -> float:
    """Return the mean of ``value(correct, wrong)`` over problems.

    Args:
        counts: what `correct_counts` returned.
        wrong_of_rest: probability that a response that is not correct is wrong.
    """
    samples = len(counts) - 1
    total = 0.0
    for correct, chance in enumerate(counts):
        rest = samples - correct
        for wrong in range(rest + 1):
            binomial = math.comb(rest, wrong) * wrong_of_rest**wrong * (1 - wrong_of_rest) ** (rest - wrong)
            total += chance * binomial * value(correct, wrong)
    return total


def distinct(count: int, repeated: float) -> float:
    """Return how many of ``count`` responses are distinct, if each but the first repeats an earlier one with that
    probability."""
    return count and 1 + (count - 1) * (1 - repeated)
