"""Parse a teacher's answers. Tolerant of the form, never of the content; linear in the text."""

from __future__ import annotations

import re
from typing import Literal

MAX_QUESTION_CHARS = 4_000
"""A longer text is not accepted as a problem."""
MAX_SOLUTION_CHARS = 20_000

Check = Literal["sound", "repaired", "hopeless"]

_TAG = {name: re.compile(rf"<\s*{name}\s*>", re.IGNORECASE) for name in ("problem", "verdict")}
_END = {name: re.compile(rf"<\s*/\s*{name}\s*>", re.IGNORECASE) for name in ("problem", "verdict")}
_LABEL = re.compile(r"^[#*\s]*(?:brand-new |new |final |repaired )?(?:problem|question)[*\s]*:[*\s]*", re.IGNORECASE)
_VERDICT = re.compile(r"\b(sound|repaired|hopeless)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_PLACEHOLDER = re.compile(r"[.\s…]*")


def without_thoughts(text: str) -> str:
    """Remove the thoughts of a reasoning model before its answer; of unfinished thoughts nothing is left.

    The verifier knows more tags and keeps the text before unfinished thoughts (``misstep.verification.extract``). Using
    its rule here would change the drafts of finished work, whose keys stay as they are.
    """
    before, mark, after = text.rpartition("</think>")
    if mark:
        return after.strip()
    return before if "<think>" in after else after.strip()


def question_in(text: str) -> str | None:
    """Return the problem in an answer: between its marks, or after a label at its start; None if there is none, or if
    it is not readable text."""
    text = without_thoughts(text)
    found = _between(text, "problem")
    if found is None:
        label = _LABEL.match(text)
        if label is None:
            return None
        found = text[label.end() :]
    else:
        label = _LABEL.match(found)
        found = found[label.end() :] if label else found
    found = found.strip()
    if _PLACEHOLDER.fullmatch(found) or len(found) > MAX_QUESTION_CHARS or len(_WORD.findall(found)) < 3:
        return None
    return found


def verdict_in(text: str) -> Check | None:
    """Return the check's verdict on the problem, or None if there is none."""
    text = without_thoughts(text)
    part = _between(text, "verdict")
    words = {word.lower() for word in _VERDICT.findall(text.partition("<problem>")[0] if part is None else part)}
    if len(words) != 1:
        return None
    word = words.pop()
    return "sound" if word == "sound" else "repaired" if word == "repaired" else "hopeless"


def _between(text: str, name: str) -> str | None:
    """Return the last part between a tag and its end; without an end, the rest of the text."""
    starts = list(_TAG[name].finditer(text))
    if not starts:
        return None
    rest = text[starts[-1].end() :]
    end = _END[name].search(rest)
    return rest[: end.start()] if end else rest
