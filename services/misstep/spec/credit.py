"""``spec.credit`` and ``spec.pairs``: which steps of wrong solutions are at fault, and how preference pairs are
made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from misstep.spec.fields import Count, Number, Percent, SpecModel
from misstep.terms.pairing import ChosenBy, PairWeight


class Credit(SpecModel):
    """Find the faulty step of a wrong solution by Monte-Carlo rollouts from its prefixes."""

    estimator: Literal["adaptive", "full-scan", "sequential", "bisection"] = "adaptive"
    """`adaptive` draws single rollouts where they tell most about the pit, until it is known well enough. `full-scan`
    rolls out every prefix and gives values of all steps. `sequential` stops at the pit and ends each prefix at its
    first success: it finds the full scan's pit with about half its tokens or less. `bisection` halves the search
    range."""
    rollouts: Count = 8
    """Rollouts per prefix: exactly for `full-scan`, at most for the others; at least `bestOf`."""
    target_error: Number = Field(default=0.2, gt=0, lt=1)
    """For `adaptive`: search until the pit is another step with at most this probability."""
    budget: Count | None = None
    """For `adaptive`: rollouts per wrong solution, at most."""
    budget_tokens: Count | None = None
    """For `adaptive`: generated tokens per wrong solution; no rollout begins after these."""
    best_of: Count = 5
    """K of the best-of-K prover whose success rate is the value of a prefix."""
    negatives_per_problem: Count = 8
    """Wrong solutions credited per problem, at most."""
    max_negatives: Count | None = None
    """Wrong solutions credited in all, at most."""
    positives_per_problem: int = Field(default=0, ge=0, le=10_000_000)
    """Correct solutions credited per problem, at most, each by a full scan: which of their steps did luck save? Costs
    several times as much as a wrong one."""
    audit_percent: Percent = 3
    """Share of the credited wrong solutions that are also fully scanned with fresh rollouts, twice (once where the
    estimator is `full-scan`). The report shows how often the pits agree, and what credit cost against the scan. 0
    turns it off."""
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
    """Which preference pairs are built, and how much each counts. An arm may replace single fields in its `pairing`."""

    per_problem: Count = 8
    """Pairs of one problem, at most."""
    per_negative: Count = 1
    """Pairs of one wrong solution, at most, each with another chosen side. Every wrong solution gets its first pair
    before one gets its second. More than 1 is for problems that have few wrong solutions."""
    max_pairs: Count | None = None
    """Pairs in all, at most."""
    chosen: ChosenBy = "random"
    """Which chosen side a wrong solution gets, if there are several. `random`: what the policy does when it succeeds.
    `shortest` teaches brevity, `longest` the opposite. `nearest`: the least edit distance to the rejected side over
    tokens, so that the two sides differ in little but the error; `farthest`: the largest. A side that is cut off is
    compared with as many tokens of the chosen one. `likeliest` changes the policy least, `unlikeliest` teaches it what
    it rarely does: by the mean log-probability of the side's tokens. These two load the policy (`resources.pairs`).
    The layout `edit-distance` has a rule of its own."""
    weight: PairWeight = "none"
    """`advantage`: a pair counts in DPO's loss by how far the chance of success falls at the pit. With `full-scan` this
    is the fall of Q, |A|; with `adaptive` the probability that the step is the pit, so that doubtful pits count less.
    Pairs of layouts that use no pit all count alike. `none`: all pairs count alike."""
