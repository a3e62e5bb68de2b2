"""How many rollouts an estimator will probably draw for one wrong response. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from misstep.credit.estimators import EstimatorName

_DRAWS_TO_SUCCESS = 2.0
"""Draws until the first success from a prefix before the pit, where half of them succeed."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What one response needs: rollouts, requests to the engine (each reads its prefix), and the mean depth of the
    prefixes as a share of the steps."""

    rollouts: float
    requests: float
    depth: float


def expected_draws(estimator: EstimatorName, steps: float, pit: float, rollouts: int) -> Draws:
    """Estimate the draws of one response, without the bare problem.

    Args:
        steps: T, the steps of the response.
        pit: where the pit is, as a share of the steps.
        rollouts: of one prefix, at most.

    ``full-scan`` draws all rollouts of T - 1 prefixes; ``sequential`` walks to the pit, and needs about two draws for
    the first success from each prefix before it; ``bisection`` asks log2(T) + 1 prefixes; ``adaptive`` draws about 2 +
    log2(T) rollouts, most of them next to the pit (`benchmarks/credit.py`).
    """
    if steps <= 1:
        return Draws(0, 0, 0)
    to_success = min(_DRAWS_TO_SUCCESS, rollouts)
    match estimator:
        case "full-scan":
            return Draws((steps - 1) * rollouts, steps - 1, 0.5)
        case "sequential":
            last = min(max(pit * steps, 1.0), steps - 1)
            drawn = (last - 1) * to_success + rollouts
            return Draws(drawn, drawn, (last + 1) / (2 * steps))
        case "bisection":
            drawn = min(math.log2(steps) + 1, steps - 1) * (to_success + rollouts) / 2
            return Draws(drawn, drawn, 0.5)
        case "adaptive":
            drawn = min(2 + math.log2(steps), (steps - 1) * rollouts)
            return Draws(drawn, drawn, pit)


def share_of_scan(estimator: EstimatorName, steps: int, rollouts: int) -> float:
    """Estimate the rollouts of an estimator as a share of a full scan's, for a pit half way."""
    scan = (steps - 1) * rollouts
    return min(1.0, expected_draws(estimator, steps, 0.5, rollouts).rollouts / scan) if scan else 1.0
