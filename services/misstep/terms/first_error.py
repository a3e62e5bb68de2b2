"""How pits are compared with known first errors: ProcessBench's measure, and what it means. Pure."""

from __future__ import annotations

VALUE_OR_JUDGEMENT = (
    "A pit is a value under a policy: from there it no longer finds the answer. A first error is a judgement of "
    "correctness: the step is wrong. A policy may recover from an error, or be lost before one, so the two need not "
    "agree."
)


def harmonic_mean(one: float | None, other: float | None) -> float | None:
    """Return the harmonic mean of two accuracies (F1); None where one is missing, 0 where both are 0."""
    if one is None or other is None:
        return None
    return 2 * one * other / (one + other) if one + other else 0.0
