"""Take pairs out of what a problem offers: one per wrong response, no duplicates, at most so many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from misstep.credit.layouts import Options, Pair, ProblemAnswers, options
from misstep.terms.layouts import Layout


@dataclass(slots=True)
class ProblemPairs:
    """A problem's pairs, and why its other wrong responses (``candidates`` in all) gave none."""

    candidates: int = 0
    pairs: list[Pair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def pair_up(layout: Layout, problem: ProblemAnswers, per_problem: int, seed: int) -> ProblemPairs:
    """Build a problem's pairs.

    Reasons for a wrong response without a pair: ``never-solved`` (no pit), ``refuted`` (a correct response begins with
    the rejected prefix), ``no-true-error`` (the oracle finds none), ``no-correct-answer``, ``duplicate`` (every pair
    that it can give is taken), and ``over-per-problem``. With ``placebo-cut`` a wrong response that gives no pair with
    ``shared-prefix`` gives none for the same reason.
    """
    offers: Iterable[Options] = options(layout, problem, seed)
    if layout == "placebo-cut":
        paired = _outcomes(options("shared-prefix", problem, seed), per_problem)
        offers = [why if isinstance(why, str) else offered for why, offered in zip(paired, offers, strict=True)]
    found = ProblemPairs()
    for outcome in _outcomes(offers, per_problem):
        found.candidates += 1
        if isinstance(outcome, str):
            found.dropped[outcome] += 1
        else:
            found.pairs.append(outcome)
    return found


def _outcomes(offers: Iterable[Options], per_problem: int) -> list[Pair | str]:
    """Return the pair of each wrong response, or why it has none."""
    outcomes: list[Pair | str] = []
    taken: set[object] = set()
    for offered in offers:
        if isinstance(offered, str):
            outcomes.append(offered)
            continue
        pair = next((pair for pair in offered if pair.identity not in taken), None)
        if pair is None:
            outcomes.append("duplicate")
        elif len(taken) == per_problem:
            outcomes.append("over-per-problem")
        else:
            taken.add(pair.identity)
            outcomes.append(pair)
    return outcomes
