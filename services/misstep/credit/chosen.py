"""Which of a wrong response's possible pairs comes first: rules for the chosen side.

A rule gives each pair a number, and the pair with the lowest comes first. Of equals, the one that was drawn first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from misstep.terms.pairing import ChosenBy

if TYPE_CHECKING:
    from misstep.credit.layouts import Ids, Pair

Rank = Callable[["Pair"], float]
Logprobs = Callable[[Sequence[tuple["Ids", "Ids"]]], list[list[float]]]
"""Returns the log-probability of each token of responses to prompts (`misstep.generation.engine`)."""


def rank_of(chosen: ChosenBy, likelihoods: Likelihoods | None = None) -> Rank | None:
    """Return the rule of a name; None for ``random``, which keeps the order of the draw.

    Args:
        likelihoods: for ``likeliest`` and ``unlikeliest``; it must have learned the pairs that are ranked
            (`misstep.credit.pair_up.undecided`).
    """
    if chosen == "random":
        return None
    if chosen in ("shortest", "longest"):
        return _signed(lambda pair: len(pair.chosen.token_ids), chosen == "longest")
    if chosen in ("nearest", "farthest"):
        return _signed(difference, chosen == "farthest")
    assert likelihoods is not None
    return _signed(likelihoods.of, chosen == "likeliest")


def _signed(rank: Rank, most_first: bool) -> Rank:
    return (lambda pair: -rank(pair)) if most_first else rank


def difference(pair: Pair) -> float:
    """Return the Levenshtein distance of the two sides over tokens. A rejected side that is cut off is compared with as
    many tokens of the chosen one: with all of them, the distance would be little more than the difference of length."""
    from rapidfuzz.distance import Levenshtein

    chosen, rejected = pair.chosen.token_ids, pair.rejected_ids
    return Levenshtein.distance(chosen if pair.rejected_complete else chosen[: len(rejected)], rejected)


def in_order(pairs: Iterable[Pair], rank: Rank | None) -> list[Pair]:
    """Order the pairs of one response; the order of the steps at which they blame it stays. A pair that is the only one
    of its step is not ranked."""
    if rank is None:
        return list(pairs)
    steps = at_each_step(pairs)
    return [pair for alike in steps for pair in (sorted(alike, key=rank) if len(alike) > 1 else alike)]


def at_each_step(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Return the pairs of one response, step by step at which they blame it."""
    return [list(alike) for _, alike in groupby(pairs, key=lambda pair: pair.pit)]


class Likelihoods:
    """Mean log-probabilities of the tokens of chosen sides under a policy. Not their sum: that would mostly say how
    long a side is."""

    def __init__(self, logprobs: Logprobs) -> None:
        self._logprobs = logprobs
        self._known: dict[tuple[Ids, Ids], float] = {}

    def learn(self, pairs: Iterable[Pair]) -> None:
        """Score the chosen sides that are not known yet, and forget those of other pairs."""
        texts = dict.fromkeys((pair.prompt_ids, pair.chosen.token_ids) for pair in pairs)
        known = {text: self._known[text] for text in texts if text in self._known}
        new: Sequence[tuple[Ids, Ids]] = [text for text in texts if text not in known]
        scored = self._logprobs(new) if new else []
        known |= {text: sum(tokens) / max(1, len(tokens)) for text, tokens in zip(new, scored, strict=True)}
        self._known = known

    def of(self, pair: Pair) -> float:
        """Return that of a pair's chosen side, in nats a token."""
        return self._known[pair.prompt_ids, pair.chosen.token_ids]
