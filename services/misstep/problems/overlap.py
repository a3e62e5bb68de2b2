"""Find training problems that are also in the test set, by n-gram overlap of words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+|[^\w\s]", re.UNICODE)


def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    """Return the n-grams of a text's words and signs, case folded; for a shorter text, the whole text."""
    words = tuple(_WORD.findall(text.casefold()))
    if len(words) < n:
        return {words} if words else set()
    return {words[i : i + n] for i in range(len(words) - n + 1)}


def overlapping(texts: Sequence[str], held_out: Iterable[str], n: int) -> tuple[list[int], int]:
    """Find texts that share an n-gram with any held-out text.

    Returns:
        (indices in `texts` of these texts, number of held-out texts that share an n-gram with any of `texts`).
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
