"""Fingerprints of tokenizers, to detect token ids that were made with another tokenizer than the model's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from misstep.errors import BadInput
from misstep.generation.text import PROBES, decode, encode

TOKENIZER = "tokenizer"
"""The field of a summary with the fingerprint of the tokenizer that made the ids in the tables."""


def fingerprint(tokenizer: Any) -> str:
    """Hash the meaning of token ids: the vocabulary with its ids, including added tokens, the end token, and the
    encoding of some texts (``text.PROBES``).

    Two readings of one file have the same vocabulary and differ in those texts. A saved copy with the same rules in
    another form has the same fingerprint.
    """
    digest = hashlib.sha256(f"{tokenizer.eos_token_id}\n".encode())
    for token, number in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{number} {token}\n".encode(errors="surrogatepass"))
    for text in PROBES:
        ids = encode(tokenizer, text)
        digest.update(f"{ids} {decode(tokenizer, ids)!r}\n".encode())
    return digest.hexdigest()[:16]


def check_tokenizer(tokenizer: Any, role: str, summary: Mapping[str, Any]) -> None:
    """Refuse a model whose tokenizer did not make an input's token ids.

    Args:
        tokenizer: the model's.
        role: the input.
        summary: of the input; old summaries without a fingerprint pass.

    Raises:
        BadInput: the tokenizers differ.
    """
    made_with = summary.get(TOKENIZER)
    if made_with is not None and made_with != (own := fingerprint(tokenizer)):
        raise BadInput(
            "model",
            f"its tokenizer is {own}; {role} hold token ids of {made_with}",
            f"Ids of one tokenizer are meaningless for another: use the model that the {role} were made with.",
        )


def passed_on(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of an input's summary, for the summary of a stage with the same ids in its tables."""
    return {TOKENIZER: summary[TOKENIZER]} if TOKENIZER in summary else {}
