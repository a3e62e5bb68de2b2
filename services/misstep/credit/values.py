"""The value of a prefix: prover values from rollout counts, advantages of steps, and the first pit.

For a problem x and a response of L steps, Q_i is the probability that the prover solves x when it continues from the
first i steps, so Q_0 is its success rate from the bare problem and Q_L of a wrong response is 0. The prover is
best-of-K of the policy (arXiv 2406.14532, section 6; K = 5 there): it fails only if all K continuations fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Counts:
    """Rollouts from one prefix. ``unknown`` ones (unparsable, timed out, cut off) are neither right nor wrong; since
    they are not successes, they stay in ``rollouts``."""

    rollouts: int = 0
    correct: int = 0
    unknown: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.rollouts:
            raise ValueError(f"{self.correct} of {self.rollouts} rollouts cannot be correct")

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.rollouts + other.rollouts, self.correct + other.correct, self.unknown + other.unknown)


def best_of(rollouts: int, correct: int, k: int) -> float:
    """Estimate the best-of-k success rate without bias: ``1 - C(n-c, k) / C(n, k)`` from n rollouts, c
    correct.

    This is the fraction of the k-subsets of the rollouts that contain a success. Its mean over rollouts is ``1 -
    (1-p)^k`` for the policy's own success rate p (the pass@k estimator of arXiv 2107.03374); k = 1 is the
    mean c/n. It is computed in integers and divided once, so it is exact up to rounding for any n.

    Raises:
        ValueError: fewer than k rollouts, k below 1, or more successes than rollouts.
    """
    if not 1 <= k <= rollouts or not 0 <= correct <= rollouts:
        raise ValueError(f"best-of-{k} cannot be estimated from {correct} correct of {rollouts} rollouts")
    subsets = math.comb(rollouts, k)
    return (subsets - math.comb(rollouts - correct, k)) / subsets


def advantages(q: Sequence[float | None]) -> list[float | None]:
    """Return ``A_i = Q_i - Q_{i-1}`` for the steps i = 1..L (arXiv 2406.14532, equation 3), None where either
    value is unknown. With every value known they sum to ``Q_L - Q_0``."""
    return [None if before is None or after is None else after - before for before, after in pairwise(q)]


def first_pit(q: Sequence[float]) -> int | None:
    """Return the first pit: the first step with the lowest Q_i among the steps with ``Q_{i-1} > 0``, 1-based.

    None if Q is zero before every step: the prover never solved the problem, and no step can be blamed. A step that
    starts at zero cannot be a pit, because its value cannot fall.

    Since Q_L = 0, the lowest value of any step that starts above zero is 0 (the step after the last positive
    value has it), so the pit is also the first step at which Q falls from above zero to zero. That is why a
    search may stop there and still agree with a scan of every prefix.
    """
    falls = [(after, step) for step, (before, after) in enumerate(pairwise(q), 1) if before > 0]
    return min(falls)[1] if falls else None
