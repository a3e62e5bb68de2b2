"""``spec.credit`` and ``spec.pairs``: which steps of wrong solutions are at fault, and how preference pairs are
made."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from misstep.spec.fields import Count, SpecModel


class Credit(SpecModel):
    """Find the faulty step of a wrong solution by Monte-Carlo rollouts from its prefixes."""

    estimator: Literal["full-scan", "sequential", "bisection"] = "sequential"
    """`full-scan` credits every prefix. `sequential` stops at the pit: it finds the same pit with about half the
    rollouts. `bisection` searches for the pit, which saves rollouts where solutions have many steps."""
    rollouts: Count = 8
    """Rollouts per prefix; at least `bestOf`."""
    best_of: Count = 5
    """K of the best-of-K prover whose success rate is the value of a prefix."""
    negatives_per_problem: Count = 8
    """Wrong solutions credited per problem, at most."""
    max_negatives: Count | None = None
    """Wrong solutions credited in all, at most."""
    max_steps: Count = 20
    """Most steps that a solution is split into; further steps are merged."""
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
