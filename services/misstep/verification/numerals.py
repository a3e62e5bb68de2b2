"""Numbers written in words: ``forty-two``, ``minus 6``, ``one and a half``, ``2 dozen``."""

from __future__ import annotations

import re
from fractions import Fraction

SCALES = {
    "dozen": 12, "dozens": 12, "score": 20, "hundred": 100, "hundreds": 100, "thousand": 10**3, "thousands": 10**3,
    "million": 10**6, "millions": 10**6, "billion": 10**9, "billions": 10**9, "trillion": 10**12, "trillions": 10**12,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
"""Words that multiply the number before them."""

_SMALL = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+",
            """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
            fifteen sixteen seventeen eighteen nineteen""",
        )
    )
}
_TENS = {
    word: 20 + 10 * n
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
}
_TENS["fourty"] = 40
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8,
    "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10,
}  # fmt: skip
_NEGATIVE = ("minus", "negative")
NUMBER_WORDS = frozenset([*_SMALL, *_TENS, *SCALES, *_PARTS, *_NEGATIVE])
_WORDS = re.compile(r"[a-z]+(?:[ -]+[a-z]+){0,12}")


def number_in_words(text: str) -> Fraction | None:
    """Read a text that is only a number in English words; None for anything else."""
    lowered = text.strip().lower().rstrip(".")
    if not _WORDS.fullmatch(lowered):
        return None
    words = lowered.replace("-", " ").split()
    if words[0] in _NEGATIVE:
        value = _positive(words[1:])
        return None if value is None else -value
    return _positive(words)


def _positive(words: list[str]) -> Fraction | None:
    if not words:
        return None
    if words[0] == "half" and len(words) == 3 and words[1] in ("a", "an") and words[2] in SCALES:
        return Fraction(SCALES[words[2]], 2)  # "half a dozen"
    if words[-1] in _PARTS:
        return _with_part(words)
    return _whole(words)


def _with_part(words: list[str]) -> Fraction | None:
    """``half``, ``a half``, ``two thirds``, ``one and a half``, ``two and three quarters``."""
    part, before = _PARTS[words[-1]], words[:-1]
    if "and" in before:
        cut = len(before) - 1 - before[::-1].index("and")
        whole, over = _whole(before[:cut]), _count(before[cut + 1 :])
        return None if whole is None or over is None or over >= part else whole + Fraction(over, part)
    if not before and part > 4:
        return None  # "fifth" is an ordinal as often as a part
    over = _count(before)
    return None if over is None else Fraction(over, part)


def _count(words: list[str]) -> int | None:
    if not words or words in (["a"], ["an"]):
        return 1
    whole = _whole(words)
    return None if whole is None else int(whole)


def _whole(words: list[str]) -> Fraction | None:
    """Sums of groups: ``two million three hundred and five thousand and one``."""
    if words[0] in ("a", "an") and len(words) > 1 and words[1] in SCALES:
        words = ["one", *words[1:]]
    total, group, last = 0, 0, ""
    for position, word in enumerate(words):
        if word == "and":
            if position in (0, len(words) - 1) or last not in SCALES:
                return None
            continue
        if word in _SMALL:
            if last in _SMALL or (last in _TENS and not 0 < _SMALL[word] < 10) or last == "dozen":
                return None
            group += _SMALL[word]
        elif word in _TENS:
            if last in _SMALL or last in _TENS:
                return None
            group += _TENS[word]
        elif word in SCALES:
            if not group and word in SCALES and position and last not in SCALES:
                return None
            if SCALES[word] < 1000:
                group = (group or 1) * SCALES[word]
            else:
                total, group = total + (group or 1) * SCALES[word], 0
        else:
            return None
        last = word
    return Fraction(total + group)
