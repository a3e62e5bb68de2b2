"""Which training problems also stand in the test set: n-gram overlap of words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+|[^\w\s]", re.UNICODE)


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Return the n-grams of a text's words and signs, case folded; of a shorter text, the whole of it."""
    words = tuple(_WORD.findall(text.casefold()))
    if len(words) < n:
        return {words} if words else set()
    return {words[i : i + n] for i in range(len(words) - n + 1)}


def overlapping(texts: Sequence[str], held_out: Iterable[str], n: int) -> tuple[list[int], int]:
    """Find texts that share an n-gram with any held-out text.

    Returns:
        (indices into `texts` of those that do, how many held-out texts share one with any of `texts`).
    """
    index: dict[tuple[str, ...], list[int]] = {}
    held = list(held_out)
    for number, text in enumerate(held):
        for gram in ngrams(text, n):
            index.setdefault(gram, []).append(number)
    hits: list[int] = []
    touched: set[int] = set()
    for number, text in enumerate(texts):
        found = [h for gram in ngrams(text, n) for h in index.get(gram, ())]
        if found:
            hits.append(number)
            touched.update(found)
    return hits, len(touched)
