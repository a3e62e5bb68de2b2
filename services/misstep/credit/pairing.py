"""Take pairs out of what a problem offers: one per wrong response, no duplicates, at most so many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from misstep.credit.layouts import Layout, Pair, ProblemAnswers, options


@dataclass(slots=True)
class ProblemPairs:
    """A problem's pairs, and why its other wrong responses (``candidates`` in all) gave none."""

    candidates: int = 0
    pairs: list[Pair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def pair_up(layout: Layout, problem: ProblemAnswers, per_problem: int, seed: int) -> ProblemPairs:
    """Build a problem's pairs.

    Reasons for a wrong response without a pair: ``never-solved`` (no pit), ``refuted`` (a correct response begins with
    the rejected prefix), ``no-correct-answer``, ``duplicate`` (every pair that it can give is taken), and
    ``over-per-problem``.
    """
    found = ProblemPairs()
    taken = set()
    for offered in options(layout, problem, seed):
        found.candidates += 1
        if isinstance(offered, str):
            found.dropped[offered] += 1
            continue
        pair = next((pair for pair in offered if pair.identity not in taken), None)
        if pair is None:
            found.dropped["duplicate"] += 1
        elif len(found.pairs) == per_problem:
            found.dropped["over-per-problem"] += 1
        else:
            taken.add(pair.identity)
            found.pairs.append(pair)
    return found
