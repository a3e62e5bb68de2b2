r"""Find the final answer in a column's text: after a mark, in a box, on a ``####`` line, or the text itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from misstep.verification.gold import gold_answer

KNOWN_MARKS = (
    "<answer>",
    "The final answer is:",
    "The final answer is",
    "The answer is:",
    "The answer is",
    "Final answer:",
    "Answer:",
    "####",
)
"""Common marks before a final answer, the more specific first."""

_LABEL = re.compile(r"(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is\s*[:=]?|[:=])\s*(?=\S)", re.IGNORECASE)
_NOTHING = " \t\r:=*$\\[]()"


@dataclass(frozen=True, slots=True)
class Gold:
    """A final answer, empty if there is none; then ``reason`` is a key of ``non_answers.WORDS``."""

    text: str
    reason: str = ""


def gold_in(text: str, after: str | None = None, before: str | None = None) -> Gold:
    r"""Return the final answer in a cell.

    Args:
        after: the mark before the answer; the last one counts, ignoring case. The answer ends with its line.
        before: the mark after the answer, instead of the end of the line.
    """
    if not text:
        return Gold("", "empty")
    if after is not None:
        section = _section(text, after, before)
        if section is None:
            return Gold("", "marker")
        text = section
    answer = _out_of_list(gold_answer(text))
    label = _LABEL.match(answer)
    if label and "\n" not in answer:
        answer = answer[label.end() :].strip()
    return Gold(answer, "" if answer else "empty")


def between(text: str, after: str | None, before: str | None) -> str | None:
    """Return the text between the first mark and the last one; None if a mark is missing."""
    start, end = 0, len(text)
    if after is not None:
        found = _mark(after).search(text)
        if found is None:
            return None
        start = found.end()
    if before is not None:
        ends = [found.start() for found in _mark(before).finditer(text, start)]
        if not ends:
            return None
        end = ends[-1]
    return text[start:end].strip()


def mark_in(text: str) -> str | None:
    """Return the known mark in a text; None if there is none."""
    return next((mark for mark in KNOWN_MARKS if _mark(mark).search(text)), None)


def _section(text: str, after: str, before: str | None) -> str | None:
    starts = [found.end() for found in _mark(after).finditer(text)]
    if not starts:
        return None
    rest = text[starts[-1] :]
    if before is not None:
        end = _mark(before).search(rest)
        return rest[: end.start()].strip() if end else None
    for line in rest.split("\n"):
        if line.strip(_NOTHING):  # after "Answer:", "$$" or "**" alone, the answer is on another line
            return line.lstrip(" \t:=*").strip()
    return ""


@lru_cache(maxsize=64)
def _mark(mark: str) -> re.Pattern[str]:
    return re.compile(r"\s+".join(re.escape(word) for word in mark.split()), re.IGNORECASE)


def _out_of_list(answer: str) -> str:
    """Extract the answer from a list that was written as text: ``["4"]`` is 4."""
    if not answer.startswith('["') and not answer.startswith("['"):
        return answer
    quoted = answer if answer.startswith('["') else answer.replace("'", '"')
    try:
        found = json.loads(quoted)
    except (ValueError, RecursionError):
        return answer
    texts = {item.strip() for item in found if isinstance(item, str)}
    return texts.pop() if len(texts) == 1 and len(found) >= 1 else answer
