"""What generators of problems share: a problem with its solution, and draws that every Python version repeats."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from misstep.errors import BadInput

_MOST_MISSES = 20_000
"""Draws in a row without a new problem, after which a split counts as exhausted."""


@dataclass(frozen=True, slots=True)
class GeneratedProblem:
    """One problem with the teacher's solution and the answer's text, e.g. ``"3"``."""

    question: str
    solution: str
    gold: str


Drawn = TypeVar("Drawn", bound=Hashable)


def distinct(
    draws: Iterable[tuple[Drawn, random.Random]], count: int, split: str
) -> Iterator[tuple[Drawn, random.Random]]:
    """Yield the first ``count`` different ones of endless draws; a smaller count gives a prefix.

    Args:
        split: that is drawn from, for the message.

    Raises:
        BadInput: the split has fewer.
    """
    seen: set[Drawn] = set()
    misses = 0
    for drawn, rng in draws:
        if len(seen) == count:
            return
        if drawn in seen:
            misses += 1
            if misses > _MOST_MISSES:
                fix = f"The {split} split holds about {len(seen)} problems: ask for fewer."
                raise BadInput("limit", count, fix)
            continue
        misses = 0
        seen.add(drawn)
        yield drawn, rng


def generator(*name: object) -> random.Random:
    """Return a generator of random numbers for a name, the same in every process."""
    return random.Random(int.from_bytes(_digest("/".join(map(str, name))), "big"))


def share_of(text: str, shares: Sequence[float]) -> int:
    """Return which of some shares, whose sum is 1, a text falls into: its hash decides."""
    place = int.from_bytes(_digest(text), "big") / 2**64
    return min(bisect_right(list(accumulate(shares)), place), len(shares) - 1)


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
