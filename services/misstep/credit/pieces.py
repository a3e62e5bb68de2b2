"""The text of each token of a response, for tokenizers whose decoding is not a concatenation.

Byte-level vocabularies spread one character over several tokens, and some decoders join words by a space. Steps are cut
at token offsets, so it must be known which characters each token completes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from misstep.generation.text import decode_continuation

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_PATIENCE = 16  # tokens: a character has four bytes at most, so this many without one are not UTF-8


class TokenPieces:
    """Split decoded text by token. Special tokens have no text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        end_ids: tokens that end a response: they have no text either, special or not.
    """

    def __init__(self, tokenizer: Any, end_ids: Collection[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._end_ids = frozenset(end_ids)
        self._alone: dict[int, str] = {}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decode without special and end tokens, and without cleaning up spaces."""
        return decode_continuation(self._tokenizer, [token for token in token_ids if token not in self._end_ids])

    def of(self, token_ids: Sequence[int]) -> list[str]:
        """Return one piece of text per token. A character spread over tokens belongs to the token that completes it;
        the others have empty pieces. The pieces join to the decoded text (for bytes that are not UTF-8, the number of
        replacement characters may differ)."""
        alone = [self._decode_alone(token) for token in token_ids]
        if "".join(alone) == self.decode(token_ids):
            return alone
        return self._incremental(token_ids)

    def _decode_alone(self, token: int) -> str:
        piece = self._alone.get(token)
        if piece is None:
            piece = self._alone[token] = self.decode((token,))
        return piece

    def _incremental(self, token_ids: Sequence[int]) -> list[str]:
        """Decode in a window that starts one piece earlier, so that a decoder strips the same start from both texts
        that are compared."""
        pieces: list[str] = []
        start = done = 0
        for end in range(1, len(token_ids) + 1):
            known = self.decode(token_ids[start:done])
            text = self.decode(token_ids[start:end])
            unfinished = text.endswith(_REPLACEMENT) and end - done < _PATIENCE
            if len(text) <= len(known) or (unfinished and end < len(token_ids)):
                pieces.append("")
                continue
            pieces.append(text[len(known) :])
            start, done = done, end
        return pieces
