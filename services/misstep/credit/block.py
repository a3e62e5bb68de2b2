"""The results of credit for a block of problems: prefixes with their rollouts, and negatives with their values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from misstep.credit.selection import CreditProblem
from misstep.credit.steps import Steps
from misstep.credit.values import Counts
from misstep.terms.verdict import Verdict

NEVER_SOLVED = "never-solved"
"""The reason of a response without a pit: no sample and no rollout ever solved its problem (Q_0 is zero)."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One continuation of a prefix, judged."""

    token_ids: tuple[int, ...]
    text: str
    """The text after the prefix."""
    verdict: Verdict
    finish_reason: str

    @property
    def solved(self) -> bool:
        """Return whether it ended by itself with the right answer."""
        return self.verdict is Verdict.CORRECT and self.finish_reason == "stop"


@dataclass(slots=True)
class Prefix:
    """A distinct prefix of one problem's negatives; ``counts`` is None until its rollouts are judged."""

    prefix_id: str
    problem: CreditProblem
    step: int
    token_ids: tuple[int, ...]
    counts: Counts | None = None
    rollouts: list[Rollout] = field(default_factory=list)
    wanted: int = 0
    """How many times a negative needed it."""
    unneeded: int = 0
    """Rollouts that were drawn in advance, and that no negative needed."""

    def counted(self) -> Counts:
        """Count its rollouts so far."""
        correct = sum(rollout.solved for rollout in self.rollouts)
        wrong = sum(rollout.verdict is Verdict.WRONG for rollout in self.rollouts)
        return Counts(len(self.rollouts), correct, len(self.rollouts) - correct - wrong)


@dataclass(frozen=True, slots=True)
class CreditedResponse:
    """A response of L steps, with what credit found out about it: a wrong one, or a correct one. The credit stage
    writes it to the table ``negatives`` or ``positives``, from which the pairs stage reads it."""

    problem_id: str
    sample: int
    token_ids: tuple[int, ...]
    steps: Steps
    prefix_ids: tuple[str, ...]
    """``prefix_ids[i]`` names the prefix of i steps, from 0 to L."""
    pit: int | None
    """The blamed step, from 1; None where no step can be blamed."""
    reason: str | None
    """Why there is no pit."""
    text: str = ""
    q: tuple[float | None, ...] = ()
    """Values of the prefixes, from 0 to L steps; None where there is no unbiased estimate. Pairs are made without
    them."""
    advantages: tuple[float | None, ...] = ()
    """Of the steps 1 to L; None where a value is unknown."""
    alive: tuple[float | None, ...] = ()
    """For the prefixes of 0 to L steps, the probability that Q > 0: 0 or 1 where rollouts alone decided, None where
    nothing was asked."""
    certainty: float | None = None
    """The posterior probability of the pit, for the estimator that has one."""
    solved: tuple[int, ...] = ()
    """For the prefixes of 0 to L-1 steps, how many known responses that the pit rests on succeeded from there: rollouts
    and, for ``adaptive``, samples and rollouts that pass through."""
    failed: tuple[int, ...] = ()
    """How many failed."""
    true_pit: int | None = None
    """The true first wrong step, from 1, if an oracle was used and found one."""

    @property
    def fall(self) -> float | None:
        """How far the chance of success falls at the pit, above zero; None where there is no pit.

        The pit's posterior probability, if the estimator has one. Else the fall of Q, |A|, where it was estimated, and
        the fall of ``alive`` where it was not.
        """
        if self.pit is None:
            return None
        if self.certainty is not None:
            return self.certainty
        for values in (self.q, self.alive):
            if values:
                before, after = values[self.pit - 1 : self.pit + 1]
                if before is not None and after is not None:
                    return before - after
        return None


@dataclass(frozen=True, slots=True)
class CreditedBlock:
    """The results of the credit stage for a block of problems."""

    negatives: list[CreditedResponse]
    """In the order of the problems and their negatives."""
    prefixes: list[Prefix]
    """Prefixes with counts: problem by problem, shorter ones first."""

    def rollouts(self) -> Iterator[tuple[Prefix, int, Rollout]]:
        """Yield every rollout with its prefix and its number, in the order of the prefixes."""
        for prefix in self.prefixes:
            for number, rollout in enumerate(prefix.rollouts):
                yield prefix, number, rollout


def prefix_id(problem_id: str, token_ids: Sequence[int]) -> str:
    """Return the id of a prefix, made from its problem and its exact tokens; equal prefixes of two problems have
    different ids."""
    digest = hashlib.blake2b(problem_id.encode(), digest_size=12)
    digest.update(b"\x1f" + np.asarray(token_ids, dtype="<i4").tobytes())
    return digest.hexdigest()
