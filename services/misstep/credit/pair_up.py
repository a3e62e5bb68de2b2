"""Build the preference pairs of one problem from what a layout offers: who gets how many, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from misstep.credit.chosen import Rank, at_each_step, in_order
from misstep.credit.layouts import Options, Pair, ProblemAnswers, options
from misstep.terms.layouts import PLACEBO, Layout


@dataclass(slots=True)
class ProblemPairs:
    """A problem's pairs, and why its other wrong responses (of ``candidates`` in all) gave none. First the first pair
    of each response, then the second ones, and so on."""

    candidates: int = 0
    pairs: list[Pair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def undecided(layout: Layout, problem: ProblemAnswers, seed: int) -> Iterator[Pair]:
    """Yield the pairs that `pair_up` ranks: those of wrong responses that have several to choose from."""
    for offered in options(layout, problem, seed):
        if not isinstance(offered, str):
            yield from (pair for alike in at_each_step(offered) if len(alike) > 1 for pair in alike)


def pair_up(
    layout: Layout,
    problem: ProblemAnswers,
    per_problem: int,
    seed: int,
    per_negative: int = 1,
    rank: Rank | None = None,
) -> ProblemPairs:
    """Build a problem's pairs.

    Args:
        per_problem: pairs in all, at most.
        per_negative: pairs of one wrong response, at most. More only add to the pairs of fewer.
        rank: which of a response's pairs comes first; None keeps the order of the draw. It changes no numbers: two
            responses that can give the same pair blame the same step after the same prefix, and so can give the same
            pairs there.

    Reasons for a wrong response without a pair: ``never-solved`` (no pit), ``no-pit`` (a correct one without),
    ``refuted`` (a correct response begins with the rejected prefix), ``no-true-error`` (the oracle finds none),
    ``no-correct-answer``, ``no-teacher-solution``, ``duplicate`` (every pair that it can give is taken), and
    ``over-per-problem``. A wrong response that gives no pair with ``shared-prefix`` gives none with ``placebo-cut``,
    for the same reason, and none gives more.
    """
    offers = [*options(layout, problem, seed)]
    most = [per_negative] * len(offers)
    if layout == PLACEBO:
        # Only their numbers count, and these do not depend on the rank.
        shared = _outcomes([*options("shared-prefix", problem, seed)], most, per_problem, None)
        offers = [why if isinstance(why, str) else offered for why, offered in zip(shared, offers, strict=True)]
        most = [len(pairs) for pairs in shared]
    outcomes = _outcomes(offers, most, per_problem, rank)
    found = ProblemPairs(candidates=len(outcomes))
    found.dropped.update(why for why in outcomes if isinstance(why, str))
    made = [pairs for pairs in outcomes if not isinstance(pairs, str)]
    found.pairs = [pairs[turn] for turn in range(per_negative) for pairs in made if turn < len(pairs)]
    return found


def _outcomes(
    offers: Sequence[Options], most: Sequence[int], per_problem: int, rank: Rank | None
) -> list[list[Pair] | str]:
    """Return the pairs of each wrong response, at most so many, or the reason why it has none. All get their first
    pair before one gets its second."""
    outcomes: list[list[Pair] | str] = [offered if isinstance(offered, str) else [] for offered in offers]
    left = [iter(() if isinstance(offered, str) else in_order(offered, rank)) for offered in offers]
    taken: set[object] = set()
    for turn in range(max(most, default=0)):
        for number, found in enumerate(outcomes):
            if isinstance(found, str) or turn >= most[number]:
                continue
            pair = next((pair for pair in left[number] if pair.identity not in taken), None)
            if pair is not None and len(taken) < per_problem:
                taken.add(pair.identity)
                found.append(pair)
            elif not found:
                outcomes[number] = "duplicate" if pair is None else "over-per-problem"
    return outcomes
