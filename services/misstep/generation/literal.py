"""Text of data that holds the spelling of a special token: it stays text.

A question with ``<|im_end|>`` or ``</s>`` in it would end the user's turn, or write an end of text into the prompt. So
the tokenizer gets a second form, in which its special tokens have another spelling that no text holds. What a template
writes is respelled for it, and what comes from the data is not: the first are special tokens, and the second are text.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection
from functools import cached_property
from typing import Any

from misstep.errors import BadInput, MisstepError

_MARK = uuid.uuid4().hex
"""Stands around the name of a special token in its other spelling. No data can hold it; no result depends on it."""


class LiteralText:
    """Encodes text in which some spellings of special tokens are text, and some are tokens.

    Use: ``hide`` them in data, let a template write around the data, ``respell`` the whole, ``show`` what was hidden,
    and give that to ``tokenizer``.

    Args:
        tokenizer: a Hugging Face tokenizer.
        more: ids of added tokens that count as special here, though the tokenizer does not mark them so. White space is
            never special.
    """

    def __init__(self, tokenizer: Any, more: Collection[int] = ()) -> None:
        self._tokenizer = tokenizer
        added = {int(i): token for i, token in tokenizer.added_tokens_decoder.items()}
        chosen = {i: str(token) for i, token in added.items() if token.special or i in more}
        self._special = {name: i for i, name in chosen.items() if name.strip()}
        names = sorted(self._special, key=len, reverse=True)  # of two that begin at one place, the longer is meant
        self._found = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._hidden = re.compile(f"{_MARK}-([0-9]+)-{_MARK}")

    def concerns(self, text: str, but: Collection[int] = ()) -> bool:
        """Return whether a text holds the spelling of a special token, other than those with an id of ``but``."""
        return any(self._special[found] not in but for found in self._found.findall(text))

    def hide(self, text: str, but: Collection[int] = ()) -> str:
        """Replace the spellings of special tokens, other than those of ``but``, by marks that no tokenizer knows."""

        def mark(found: re.Match[str]) -> str:
            number = self._special[found[0]]
            return found[0] if number in but else f"{_MARK}-{number}-{_MARK}"

        return self._found.sub(mark, text)

    def respell(self, text: str) -> str:
        """Give the special tokens of a text the spelling that ``tokenizer`` knows."""
        return self._found.sub(lambda found: _respelled(found[0]), text)

    def show(self, text: str) -> str:
        """Put back what ``hide`` replaced."""
        names = {number: name for name, number in self._special.items()}
        return self._hidden.sub(lambda found: names[int(found[1])], text)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer with its special tokens respelled. Made when it is first needed: seconds.

        Raises:
            BadInput: the tokenizer is a slow one, of which no second form can be made.
        """
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        if not self._tokenizer.is_fast:
            raise BadInput(
                "spec.problems",
                "a text that holds the spelling of a special token",
                f"{type(self._tokenizer).__name__} would read it as the token. Replace it in the data, or give the "
                "model's tokenizer.json beside its weights.",
            )
        form = json.loads(self._tokenizer.backend_tokenizer.to_str())
        for token in form["added_tokens"]:
            if token["content"] in self._special:
                token["content"] = _respelled(token["content"])
        model = form["model"]
        model["vocab"] = self._vocabulary(model["vocab"])
        if model.get("unk_token") in self._special:
            model["unk_token"] = _respelled(model["unk_token"])
        form["post_processor"] = None  # it names special tokens, and adds what is not wanted here
        made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(form)))
        if any(made.convert_tokens_to_ids(_respelled(name)) != number for name, number in self._special.items()):
            raise MisstepError("the special tokens of this tokenizer have other ids in its second form")
        return made

    def _vocabulary(self, vocabulary: Any) -> Any:
        """Respell the special tokens of a model's vocabulary: token -> id, or [token, score] by id."""
        if isinstance(vocabulary, dict):
            return {_respelled(token) if token in self._special else token: i for token, i in vocabulary.items()}
        return [[_respelled(token) if token in self._special else token, score] for token, score in vocabulary]


def _respelled(name: str) -> str:
    return f"{_MARK}{name}{_MARK}"
