"""Text and token ids of a tokenizer: exact decoding, and checks that text survives encoding and decoding."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

PROBES = (
    "Ann has 2 apples and buys 3 more. How many?",
    "  Two spaces first,\n    four on the second line.",
    "One line\nanother\n\nand an empty one between.\n",
    "2 + 3 = <<2+3=5>>5 apples\n#### 5",
    "So $x^2 = \\frac{1}{4}$, and the answer is \\boxed{\\frac{1}{2}}.",
    "Largest: 1,234,567.89; smallest: 0.05%; price: $18; 7*6=42",
    "naïve façade, Größe, señor, ½ of π ≤ √2, 数学, один",
    "a  b   c\td",
)
"""Typical text of mathematics solutions: each must decode to itself."""
_UNKNOWN = "\ufffd"
_anchors: WeakKeyDictionary[Any, tuple[list[int], int]] = WeakKeyDictionary()


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text without added special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Decode a whole text, without special tokens and without a tokenizer's cosmetic changes to spaces."""
    if tokenizer.is_fast:  # the backend is much cheaper than its wrapper, with the same result
        return str(tokenizer.backend_tokenizer.decode(token_ids, skip_special_tokens=True))
    text: str = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def decode_continuation(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Decode ids that follow other tokens, like a response after its prompt.

    Some decoders, such as Llama-2's, drop the first space of a whole text. Here a response keeps its first space, so
    that the texts of consecutive pieces join to the text of all of them.
    """
    if not tokenizer.is_fast:
        return decode(tokenizer, token_ids)
    anchor, width = _anchor(tokenizer)
    return decode(tokenizer, [*anchor, *token_ids])[width:] if anchor else decode(tokenizer, token_ids)


def _anchor(tokenizer: Any) -> tuple[list[int], int]:
    """Return ids to put before others if the decoder strips the start of a text, and the length of their text."""
    found = _anchors.get(tokenizer)
    if found is None:
        found = _anchors[tokenizer] = _find_anchor(tokenizer)
    return found


def _find_anchor(tokenizer: Any) -> tuple[list[int], int]:
    backend = tokenizer.backend_tokenizer
    if backend.decoder is None or not _strips(json.loads(backend.decoder.__getstate__())):
        return [], 0
    ids = backend.encode("a", add_special_tokens=False).ids
    return list(ids), len(backend.decode(ids, skip_special_tokens=True))


def _strips(decoder: dict[str, Any]) -> bool:
    """Return whether a decoder, given as JSON, strips the start of a text."""
    if decoder.get("type") == "Sequence":
        return any(_strips(part) for part in decoder["decoders"])
    return decoder.get("type") == "Metaspace" or (decoder.get("type") == "Strip" and decoder.get("start", 0) > 0)


def first_loss(tokenizer: Any, texts: Sequence[str] = PROBES) -> tuple[str, str] | None:
    """Return the first text that does not decode to itself, and what it becomes; None if all of them do."""
    for text in texts:
        became = decode(tokenizer, encode(tokenizer, text))
        if became != text:
            return text, became
    return None


def is_closed(tokenizer: Any) -> bool:
    """Return whether the vocabulary was made for one task: it lacks tokens for some ASCII letters and digits, so only
    the task's own text can show whether text survives."""
    # Regardless of case: a tokenizer that folds capitals knows them, and loses text.
    return any(
        character not in (became := decode(tokenizer, encode(tokenizer, character)).casefold()) or _UNKNOWN in became
        for character in string.ascii_lowercase + string.digits
    )


def shown_difference(text: str, became: str, around: int = 30) -> str:
    """Quote the place where two texts differ, for a message."""
    at = next((i for i, (a, b) in enumerate(zip(text, became, strict=False)) if a != b), min(len(text), len(became)))
    begin = max(0, at - around)
    return f"{text[begin : at + around]!r} becomes {became[begin : at + around]!r}"
