"""Find near-duplicates by ROUGE-L, like Self-Instruct (Wang et al. 2023, arXiv 2212.10560). Exact: every pair is
compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_CHUNK = 128
_ROUNDING = 1e-6
"""rapidfuzz rounds, and misses some pairs that are exactly as similar as the cutoff. Similarities of texts of less than
10,000 words differ by more than this from any other cutoff in percent."""
_FIRST_CODE = 0x100
_SURROGATES = range(0xD800, 0xE000)
_MOST_CODES = 1_000_000
"""The number of distinct characters for words; further words share characters, so that some rare words count as
equal."""


class SimilarTexts:
    """A collection of texts; a new text is added unless it is too similar to an earlier one.

    ROUGE-L of two texts of m and n words is 2 LCS / (m + n), which is the normalised Indel similarity of the two
    sequences of words.

    Args:
        percent: texts with at least this similarity are near-duplicates.
        threads: number of threads for comparisons.
    """

    def __init__(self, percent: int, threads: int = 1) -> None:
        self._cutoff, self._threads = percent / 100, threads
        self._codes: dict[str, str] = {}
        self._taken: list[str] = []

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, texts: Sequence[str]) -> None:
        """Add texts without comparing them."""
        self._taken += [self._coded(text) for text in texts]

    def first_alike(self, texts: Sequence[str]) -> Iterator[int | None]:
        """Yield for each text the position of the first added one that is too similar, or None; in that case the text
        is added."""
        coded = [self._coded(text) for text in texts]
        for start in range(0, len(coded), _CHUNK):
            chunk = coded[start : start + _CHUNK]
            known = len(self._taken)
            before = self._matches(chunk, self._taken) if known else np.zeros((len(chunk), 0), dtype=bool)
            among = self._matches(chunk, chunk)
            position_of: dict[int, int] = {}
            for i in range(len(chunk)):
                old = np.flatnonzero(before[i])
                new = next((position_of[j] for j in range(i) if j in position_of and among[i, j]), None)
                found = int(old[0]) if len(old) else new
                if found is None:
                    position_of[i] = len(self._taken)
                    self._taken.append(chunk[i])
                yield found

    def _matches(self, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
        found = cdist(
            texts,
            others,
            scorer=Indel.normalized_similarity,
            score_cutoff=self._cutoff - _ROUNDING,
            workers=self._threads,
            dtype=np.float32,
        )
        return np.asarray(found > 0)

    def _coded(self, text: str) -> str:
        """Encode each word as one character: rapidfuzz compares strings much faster than lists."""
        return "".join(self._code(word) for word in _WORD.findall(text.casefold()))

    def _code(self, word: str) -> str:
        code = self._codes.get(word)
        if code is None:
            number = _FIRST_CODE + len(self._codes) % _MOST_CODES
            code = self._codes[word] = chr(number + len(_SURROGATES) * (number >= _SURROGATES.start))
        return code
