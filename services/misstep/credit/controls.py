"""Compare control layouts with credit: how often a random cut is at the pit, and how often the pit is the true first
error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from misstep.credit.block import CreditedResponse
from misstep.credit.layouts import Pair

CUTS = ("cut_at_pit", "no_other_cut")
AGREEMENT = ("pit_is_oracle", "pit_before_oracle", "pit_after_oracle", "no_pit", "no_true_error")


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
    pit, true = negative.pit, negative.true_pit
    if true is None:
        return "no_true_error"
    if pit is None:
        return "no_pit"
    if pit == true:
        return "pit_is_oracle"
    return "pit_before_oracle" if pit < true else "pit_after_oracle"
