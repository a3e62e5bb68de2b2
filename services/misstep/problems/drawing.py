"""What generators of problems share: a problem with its solution, and draws that every Python version repeats."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

MOST_MISSES = 20_000
"""Draws in a row without a new problem, after which a split counts as exhausted."""


@dataclass(frozen=True, slots=True)
class GeneratedProblem:
    """One problem with the teacher's solution and the answer's text, e.g. ``"3"``."""

    question: str
    solution: str
    gold: str


def generator(*name: object) -> random.Random:
    """Return a generator of random numbers for a name, the same in every process."""
    return random.Random(int.from_bytes(_digest("/".join(map(str, name))), "big"))


def place(text: str) -> float:
    """Return a number from 0 to below 1 for a text: its hash decides."""
    return int.from_bytes(_digest(text), "big") / 2**64


# Only Random.random() is guaranteed to give the same numbers in every Python version, so all draws use it.
def below(rng: random.Random, bound: int) -> int:
    """Draw a whole number from 0 to below a bound."""
    return int(rng.random() * bound)


def choose(rng: random.Random, weights: Sequence[float]) -> int:
    """Draw a position by weights."""
    sums = list(accumulate(weights))
    return bisect_right(sums, rng.random() * sums[-1])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:8]
