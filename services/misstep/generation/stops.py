"""Stop strings, which may begin and end inside tokens, and a table of end tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from misstep.generation.text import decode_continuation

_UNFINISHED = "\ufffd"
"""The character that a tokenizer decodes part of a character to."""


class StopStrings:
    """Detect when a row's text first contains a stop string.

    A row's text is decoded only when its new token may complete one: when the token's own text contains a stop string's
    last character, or part of a character.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stop for stop in stops if stop)
        self._may_complete = np.zeros(vocabulary, dtype=bool)
        if self._stops:
            last = {stop[-1] for stop in self._stops} | {_UNFINISHED}
            known = range(min(vocabulary, len(tokenizer)))
            # The token is decoded twice in a row: some tokenizers drop the space before a first word, or write it
            # before a second.
            texts = tokenizer.batch_decode([[i, i] for i in known], clean_up_tokenization_spaces=False)
            for token, text in zip(known, texts, strict=True):
                self._may_complete[token] = not last.isdisjoint(text)

    def completed(
        self, tokens: npt.NDArray[np.int64], response: Callable[[int], Sequence[int]]
    ) -> npt.NDArray[np.bool_]:
        """Return for each row whether its newest token completes a stop string; ``response(row)`` returns its ids."""
        ended = self._may_complete[tokens]
        for row in np.flatnonzero(ended):
            ended[row] = self._holds_one(response(int(row)))
        return ended

    def completes(self, response: Sequence[int]) -> bool:
        """Return whether the newest token of one response completes a stop string."""
        return bool(self._may_complete[response[-1]]) and self._holds_one(response)

    def _holds_one(self, response: Sequence[int]) -> bool:
        text = decode_continuation(self._tokenizer, response)
        return any(stop in text for stop in self._stops)

    def cut(self, text: str) -> str:
        """Cut a text before the stop string that begins first in it."""
        return before_stop(text, self._stops)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Cut a text before the stop string that begins first in it."""
    return text[: min((at for at in (text.find(stop) for stop in stops if stop) if at >= 0), default=None)]


def end_table(ids: Collection[int], vocabulary: int) -> npt.NDArray[np.bool_]:
    """Mark end tokens in a table by token id."""
    table = np.zeros(vocabulary, dtype=bool)
    table[list(_inside(ids, vocabulary))] = True
    return table


def _inside(ids: Iterable[int], vocabulary: int) -> Iterable[int]:
    return (i for i in ids if 0 <= i < vocabulary)
