r"""Extract gold answers from data sets: a bare answer, or a solution that ends in one."""

from __future__ import annotations

import re

from misstep.verification.extract import AnswerFormat, extract_answer
from misstep.verification.normal import unwrap
from misstep.verification.numerals import number_in_words

_MISSING = frozenset({"nan", "null", "n/a", "<na>", "nat"})
_LABEL = re.compile(
    r"[*_\s]*(?:so\s+|thus\s+|therefore\s*,?\s*)?(?:the\s+)?(?:final\s+|correct\s+)?answer(?:\s+is\s*:?|\s*[:=])[*_\s]*",
    re.IGNORECASE,
)
_MAX_IN_WORDS = 200
_IN_WORDS = re.compile(r"(.*\S)\s*\(([a-z -]+)\)", re.IGNORECASE | re.DOTALL)


def gold_list(text: str) -> str:
    """Return all boxes of a gold solution as a list; empty if it has only one, or is not a solution.

    Its answer may be the last box, as in MATH, or all of them.
    """
    if text.count("boxed") + text.count(r"\fbox") < 2 or "####" in text:
        return ""
    found = extract_answer(text, AnswerFormat.BOXED)
    return found.others[0] if found.others else found.all_boxes


def gold_answer(text: str) -> str:
    r"""Return the final answer of a gold solution (GSM8K's ``#### 18``, MATH's last ``\boxed{18}``).

    A text with neither is itself the answer, without a label ("Answer: 7") and without its repetition in words ("7
    (seven)"). The result is empty if the solution's own mark is empty, and for a missing value written as text
    (``nan``).
    """
    if "####" in text:
        return extract_answer(text, AnswerFormat.HASH).answer or ""
    if r"\boxed" in text or r"\fbox" in text:
        return extract_answer(text, AnswerFormat.BOXED).answer or ""
    answer = text.strip()
    if answer.isdecimal():
        return answer
    if answer.lower() in _MISSING:
        return ""
    if label := _LABEL.match(answer):
        answer = unwrap(answer[label.end() :])
    short = len(answer) <= _MAX_IN_WORDS and answer.endswith(")")
    if short and (twice := _IN_WORDS.fullmatch(answer)) and number_in_words(twice[2]) is not None:
        return twice[1].strip()
    return answer
