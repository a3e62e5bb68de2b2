"""Keep text of the data as text, even if it contains the spelling of a special token.

A question with ``<|im_end|>`` or ``</s>`` in it would end the user turn, or put an end of text into the prompt. So the
tokenizer gets a second form, in which its special tokens have another spelling that no text contains. Text of the
template is respelled for it, and text of the data is not: so only the template's spellings become special tokens.
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
"""Marks the name of a special token in its other spelling. No data can contain it; no result depends on it."""


class LiteralText:
    """Encodes text in which some spellings of special tokens are text, and others are tokens.

    Use: ``hide`` them in data, apply the template to the data, ``respell`` the result, ``show`` what was hidden, and
    encode that with ``tokenizer``.

    Args:
        tokenizer: a Hugging Face tokenizer.
        more: ids of added tokens to treat as special here, though the tokenizer does not mark them. White space is
            never special.
    """

    def __init__(self, tokenizer: Any, more: Collection[int] = ()) -> None:
        self._tokenizer = tokenizer
        added = {int(i): token for i, token in tokenizer.added_tokens_decoder.items()}
        chosen = {i: str(token) for i, token in added.items() if token.special or i in more}
        self._special = {name: i for i, name in chosen.items() if name.strip()}
        names = sorted(self._special, key=len, reverse=True)  # if two begin at the same place, the longer one matches
        self._found = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._hidden = re.compile(f"{_MARK}-([0-9]+)-{_MARK}")

    def concerns(self, text: str, but: Collection[int] = ()) -> bool:
        """Return whether a text contains the spelling of a special token, except those with an id in ``but``."""
        return any(self._special[found] not in but for found in self._found.findall(text))

    def hide(self, text: str, but: Collection[int] = ()) -> str:
        """Replace the spellings of special tokens, except those in ``but``, by marks that no tokenizer knows."""

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
        """The tokenizer with its special tokens respelled. It is created on first use, which takes seconds.

        Raises:
            BadInput: the tokenizer is a slow one, which cannot have a second form.
        """
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        if not self._tokenizer.is_fast:
            raise BadInput(
                "spec.problems",
                "a text that contains the spelling of a special token",
                f"{type(self._tokenizer).__name__} would read it as the token. Replace it in the data, or add the "
                "model's tokenizer.json to its folder.",
            )
        form = json.loads(self._tokenizer.backend_tokenizer.to_str())
        for token in form["added_tokens"]:
            if token["content"] in self._special:
                token["content"] = _respelled(token["content"])
        model = form["model"]
        model["vocab"] = self._vocabulary(model["vocab"])
        if model.get("unk_token") in self._special:
            model["unk_token"] = _respelled(model["unk_token"])
        form["post_processor"] = None  # it names special tokens, and adds tokens that must not be added here
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
