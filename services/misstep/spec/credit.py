"""``spec.credit`` and ``spec.pairs``: from wrong solutions to the steps to blame, and to preference pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from misstep.spec.fields import Count, SpecModel


class Credit(SpecModel):
    """Which step of a wrong solution is to blame: Monte-Carlo rollouts from its prefixes."""

    estimator: Literal["full-scan", "sequential", "bisection"] = "sequential"
    """`full-scan` credits every prefix; `sequential` stops at the pit, which is the same pit for about half the
    rollouts; `bisection` searches for it, which pays for solutions of many steps."""
    rollouts: Count = 8
    """Rollouts per prefix; at least bestOf."""
    best_of: Count = 5
    """K of the best-of-K prover whose success rate is the value of a prefix."""
    negatives_per_problem: Count = 8
    """Wrong solutions credited per problem, at most."""
    max_negatives: Count | None = None
    """Wrong solutions credited in all, at most."""
    max_steps: Count = 20
    """Steps that a solution is cut into, at most; further ones are merged."""
    step_rule: Literal["lines", "sentences"] = "lines"
    """`lines`: a step is a line; `sentences` (for MATH) also ends a step where a sentence ends."""

    @model_validator(mode="after")
    def _enough_rollouts(self) -> Credit:
        if self.rollouts < self.best_of:
            raise ValueError(
                f"rollouts, {self.rollouts}, must be at least bestOf, {self.best_of}: "
                "best-of-K has no unbiased estimate from fewer than K rollouts"
            )
        return self


class Pairs(SpecModel):
    """How many preference pairs are built."""

    per_problem: Count = 8
    """Pairs of one problem, at most."""
    max_pairs: Count | None = None
    """Pairs in all, at most."""
