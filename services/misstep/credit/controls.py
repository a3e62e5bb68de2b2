"""Compare control layouts with credit: how often a random cut is at the pit, and how often the pit is the true first
error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from misstep.credit.block import CreditedResponse
from misstep.credit.layouts import Pair
from misstep.credit.steps import step_at
from misstep.problems.oracles import Oracle
from misstep.terms.first_error import Place, place_of

CUTS = ("cut_at_pit", "no_other_cut")
_NAMES: dict[Place, str] = {
    "exact": "pit_is_oracle",
    "before": "pit_before_oracle",
    "after": "pit_after_oracle",
    "no_pit": "no_pit",
}
_NO_ERROR = "no_true_error"
AGREEMENT = (*_NAMES.values(), _NO_ERROR)


def cut_counts(pairs: Iterable[Pair], credited: Iterable[CreditedResponse]) -> Counter[str]:
    """Count the pairs of a problem whose cut is at credit's pit, and those among them with no other possible cut, by
    the names in ``CUTS``."""
    pits = {negative.sample: negative.pit for negative in credited}
    at_pit = [pair for pair in pairs if pair.pit == pits[pair.negative_sample]]
    return Counter(cut_at_pit=len(at_pit), no_other_cut=sum(pair.cuts == 1 for pair in at_pit))


def agreement(credited: Iterable[CreditedResponse]) -> Counter[str]:
    """Count how credit's pit compares with the true first wrong step, by the names in ``AGREEMENT``."""
    return Counter(map(_place, credited))


def _place(negative: CreditedResponse) -> str:
    return _NO_ERROR if negative.true_pit is None else _NAMES[place_of(negative.pit, negative.true_pit)]


def true_pit(oracle: Oracle, question: str, response: str, steps: Sequence[str]) -> int | None:
    """Return the true first wrong step of a response, from 1; None if the oracle finds nothing wrong.

    Args:
        steps: the texts of the response's steps.
    """
    offset = oracle(question, response)
    return None if offset is None else step_at(steps, offset)
