"""Split a response's token ids into steps.

A step is a range of whole tokens. The steps of a response partition its ids exactly, so a prefix of steps is an exact
prefix of what the policy sampled, and nothing is tokenised twice. Rules:

``lines``
    A step ends with the token that completes a run of newlines (GSM8K: a step is a line).
``sentences``
    Lines and sentences, never inside mathematics (MATH). Pieces that are too short for a step join the next one; the
    last piece, which usually has the answer, stays separate.

Both rules give at most ``max_steps`` steps: while there are more, the two neighbours with the smallest total length are
merged. Text that comes with its own steps is cut at these instead (`StepCutter.cut_at`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

from misstep.credit.boundaries import line_ends, sentence_ends
from misstep.credit.pieces import TokenPieces
from misstep.generation.stops import before_stop

StepRule = Literal["lines", "sentences"]
_SHORT_CHARACTERS = 20
_SHORT_PERCENT_OF_MEAN = 30


@dataclass(frozen=True, slots=True)
class Steps:
    """A response split into L steps; L is 0 only if there are no ids.

    ``ends`` are exclusive token offsets, strictly rising, the last the number of ids: end tokens and stop
    strings belong to the last step. ``texts`` are the steps' texts, which join to the response's.
    """

    ends: tuple[int, ...]
    texts: tuple[str, ...]


def step_at(texts: Sequence[str], offset: int) -> int:
    """Return the step, from 1, whose text contains the character at an offset of the response. For an offset after all
    text it is the last step, which contains the end of the response."""
    return min(bisect_right(list(accumulate(map(len, texts))), offset) + 1, len(texts))


class StepCutter:
    """Split responses by one rule.

    Args:
        pieces: the policy's tokenizer.
        rule: ``lines`` or ``sentences``.
        max_steps: the most steps, at least 1.
        stop: strings that end a response; text after one belongs to the last step.
    """

    def __init__(self, pieces: TokenPieces, rule: StepRule, max_steps: int, stop: Sequence[str] = ()) -> None:
        if max_steps < 1:
            raise ValueError("max_steps must be at least 1")
        self._pieces = pieces
        self._rule = rule
        self._max_steps = max_steps
        self._stop = tuple(stop)

    def cut(self, token_ids: Sequence[int]) -> Steps:
        """Return the steps of a response, its end token included."""
        pieces = self._pieces.of(token_ids)
        if not pieces:
            return Steps((), ())
        text = "".join(pieces)
        body = before_stop(text, self._stop)
        found = line_ends(body) if self._rule == "lines" else sentence_ends(body)
        # A cut inside a token moves to the token's end.
        offsets = list(accumulate(map(len, pieces)))
        cuts = _drop_blank(body, sorted({offsets[bisect_left(offsets, cut)] for cut in found}))
        if self._rule == "sentences":
            cuts = _join_short(body, cuts)
        ends = _at_most([*(bisect_left(offsets, cut) + 1 for cut in cuts), len(pieces)], self._max_steps)
        texts = ("".join(pieces[begin:end]) for begin, end in pairwise([0, *ends]))
        return Steps(tuple(ends), tuple(texts))

    def cut_at(self, token_ids: Sequence[int], offsets: Sequence[int]) -> tuple[Steps, tuple[int, ...]]:
        """Cut a response at given places of its text, whatever the rule and ``max_steps``.

        A cut inside a token moves to the token's end. Given steps that end with the same token are one step.

        Args:
            token_ids: of the response, its end token included.
            offsets: where the given steps end, in characters of the decoded text, not falling.

        Returns:
            The steps; and for each given step the number of the step that it is in, from 1.
        """
        pieces = self._pieces.of(token_ids)
        if not pieces or not offsets:
            return Steps((), ()), ()
        after = list(accumulate(map(len, pieces)))
        moved = [min(bisect_left(after, cut) + 1, len(pieces)) if cut > 0 else 0 for cut in offsets[:-1]]
        moved.append(len(pieces))
        ends = sorted(set(moved) - {0})
        texts = ("".join(pieces[begin:end]) for begin, end in pairwise([0, *ends]))
        return Steps(tuple(ends), tuple(texts)), tuple(bisect_left(ends, end) + 1 for end in moved)


def _drop_blank(text: str, cuts: Sequence[int]) -> list[int]:
    """Keep the cuts that have visible text between them and their neighbours."""
    kept: list[int] = []
    begin = 0
    for cut in cuts:
        if text[begin:cut].strip() and text[cut:].strip():
            kept.append(cut)
            begin = cut
    return kept


def _join_short(text: str, cuts: Sequence[int]) -> list[int]:
    """Drop the cut after each piece that is shorter than a step should be, so that it joins the next one."""
    least = min(_SHORT_CHARACTERS, len(text.strip()) * _SHORT_PERCENT_OF_MEAN // (100 * (len(cuts) + 1)))
    kept: list[int] = []
    begin = 0
    for cut in cuts:
        if len(text[begin:cut].strip()) >= least:
            kept.append(cut)
            begin = cut
    return kept


def _at_most(ends: Sequence[int], limit: int) -> list[int]:
    kept = list(ends)
    while len(kept) > limit:
        bounds = [0, *kept]
        # Of equals the earliest is merged, so that equal responses are split equally.
        shortest = min(range(len(kept) - 1), key=lambda n: bounds[n + 2] - bounds[n])
        del kept[shortest]
    return kept
