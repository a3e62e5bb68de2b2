"""Where a response ends: end tokens, and stop strings that may begin and end inside tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MARK = "misstep answers here"
_UNFINISHED = "\ufffd"
"""What a tokenizer decodes part of a character to."""


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Decode without special tokens, and without a tokenizer's cosmetic changes to spaces."""
    if tokenizer.is_fast:  # the same without the wrapper, which costs several times the decoding of a short text
        return str(tokenizer.backend_tokenizer.decode(token_ids, skip_special_tokens=True))
    text: str = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def end_of_turn_id(tokenizer: Any) -> int | None:
    """Return the special token that a chat template puts right behind an answer, or None where there is none."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    _, found, tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_MARK)
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if found else []
    return ids[0] if ids and ids[0] in tokenizer.all_special_ids else None


def end_ids(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """Collect every token that ends a response: the model's, the tokenizer's, and the chat template's end of turn."""
    of_model = getattr(generation_config, "eos_token_id", None)
    several = of_model if isinstance(of_model, list | tuple) else [of_model]
    ids = [*several, tokenizer.eos_token_id, end_of_turn_id(tokenizer)]
    return frozenset(int(i) for i in ids if i is not None)


class StopStrings:
    """Find the first moment at which a row's text holds a stop string.

    A row's text is only decoded when its new token may complete one: where the token's own text holds a stop
    string's last character, or part of a character.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stop for stop in stops if stop)
        self._may_complete = np.zeros(vocabulary, dtype=bool)
        if self._stops:
            last = {stop[-1] for stop in self._stops} | {_UNFINISHED}
            known = range(min(vocabulary, len(tokenizer)))
            # Twice the token: some tokenizers drop the space before a first word, or write it before a second.
            texts = tokenizer.batch_decode([[i, i] for i in known], clean_up_tokenization_spaces=False)
            for token, text in zip(known, texts, strict=True):
                self._may_complete[token] = not last.isdisjoint(text)

    def completed(
        self, tokens: npt.NDArray[np.int64], response: Callable[[int], Sequence[int]]
    ) -> npt.NDArray[np.bool_]:
        """Tell for each row whether its newest token completes a stop string; ``response(row)`` gives its ids."""
        ended = self._may_complete[tokens]
        for row in np.flatnonzero(ended):
            ended[row] = self._holds_one(response(int(row)))
        return ended

    def completes(self, response: Sequence[int]) -> bool:
        """Tell whether the newest token of one response completes a stop string."""
        return bool(self._may_complete[response[-1]]) and self._holds_one(response)

    def _holds_one(self, response: Sequence[int]) -> bool:
        text = decode(self._tokenizer, response)
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
