"""A few training rows as text, with the tokens that have loss marked.

They are in the stage's summary, so that a prompt without its spaces or a response without its end is noticed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from misstep.training.ids import token_text
from misstep.training.rows import Ids, PairRow, SftRow

ROWS = 3
_LONGEST_TEXT = 1200
"""Most characters of one segment; the middle of longer ones is left out, to keep the manifest small."""


def shown_rows(rows: Sequence[SftRow | PairRow], tokenizer: Any) -> list[dict[str, Any]]:
    """Return the first, the shortest and the longest row as JSON data; other rows if these are the same.

    Each is ``{"row", "tokens", "segments"}``. A segment is ``{"name", "text", "tokens", "loss"}``: the ``prompt``,
    without loss, then the ``response``, or the ``chosen`` and the ``rejected`` side. Special tokens are written out,
    and ids that the tokenizer does not know as ``[id 123]``.
    """
    return [_shown(index, rows[index], tokenizer) for index in _choose([row.length for row in rows])]


def _choose(lengths: Sequence[int]) -> list[int]:
    """Return the indices of the first, the shortest and the longest row, in this order; fill up with the next rows if
    these coincide."""
    if not lengths:
        return []
    extremes = [0, lengths.index(min(lengths)), lengths.index(max(lengths))]
    return list(dict.fromkeys([*extremes, *range(min(ROWS, len(lengths)))]))[:ROWS]


def _shown(index: int, row: SftRow | PairRow, tokenizer: Any) -> dict[str, Any]:
    if isinstance(row, SftRow):
        prompt, response = row.input_ids[: row.prompt_tokens], row.input_ids[row.prompt_tokens :]
        sides = {"response": response}
    else:
        prompt, sides = row.prompt_ids, {"chosen": row.chosen_ids, "rejected": row.rejected_ids}
    segments = [_segment("prompt", _decode(tokenizer, prompt), prompt, loss=False)]
    segments += [_segment(name, _behind(tokenizer, prompt, side), side, loss=True) for name, side in sides.items()]
    return {"row": index, "tokens": row.length, "segments": segments}


def _segment(name: str, text: str, ids: Ids, *, loss: bool) -> dict[str, Any]:
    return {"name": name, "text": _shorten(text), "tokens": len(ids), "loss": loss}


def _behind(tokenizer: Any, prompt: Ids, side: Ids) -> str:
    """Decode a side in the context of its prompt: alone, some tokenizers would drop its first space."""
    before, whole = _decode(tokenizer, prompt), _decode(tokenizer, [*prompt, *side])
    return whole.removeprefix(before) if whole.startswith(before) else _decode(tokenizer, side)


def _decode(tokenizer: Any, ids: Ids | Sequence[int]) -> str:
    parts = []
    for known, run in groupby(map(int, ids), key=lambda i: token_text(tokenizer, i) is not None):
        if known:
            parts.append(tokenizer.decode(list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        else:
            parts += [f"[id {i}]" for i in run]
    return "".join(parts)


def _shorten(text: str) -> str:
    left_out = len(text) - _LONGEST_TEXT
    if left_out <= 0:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]} […{left_out:,} characters…] {text[-half:]}"
