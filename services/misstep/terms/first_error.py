"""How pits are compared with known first errors: ProcessBench's measure, and what it means. Pure."""

from __future__ import annotations

from typing import Literal, get_args

Place = Literal["exact", "before", "after", "no_pit"]
PLACES: tuple[Place, ...] = get_args(Place)

VALUE_OR_JUDGEMENT = (
    "A pit is a value under a policy: from there it no longer finds the answer. A first error is a judgement of "
    "correctness: the step is wrong. A policy may recover from an error, or be lost before one, so the two need not "
    "agree."
)


def place_of(pit: int | None, first_error: int) -> Place:
    """Say where a pit lies, against the first error; both are steps from 1."""
    if pit is None:
        return "no_pit"
    return "exact" if pit == first_error else "before" if pit < first_error else "after"


def harmonic_mean(one: float | None, other: float | None) -> float | None:
    """Return the harmonic mean of two accuracies (F1); None where one is missing, 0 where both are 0."""
    if one is None or other is None:
        return None
    return 2 * one * other / (one + other) if one + other else 0.0
