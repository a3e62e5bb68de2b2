"""A problem as read from a source, before checks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawProblem:
    """One problem.

    Attributes:
        question: the problem's text; empty if the source has none.
        gold: final answer, in the source's spelling; empty if it has none.
        solution: the teacher's step-by-step solution, if the source has one.
        where: file and line (or the like), for messages.
        source_id: the source's own id, if it has one.
        reason: why there is no gold, a key of ``non_answers.WORDS``; empty if the text itself decides.
        said: the source's text in place of a gold, for messages.
        remarks: descriptions of what reading left out or found odd, to be counted.
    """

    question: str
    gold: str
    solution: str | None
    where: str
    source_id: str | None = None
    reason: str = ""
    said: str = ""
    remarks: tuple[str, ...] = ()


def normalised(text: str) -> str:
    """Normalise case and white space, so that trivially different copies of a question are equal."""
    return " ".join(text.casefold().split())


def problem_id(question: str) -> str:
    """Return a problem's id, made from its content: the same question has the same id in any file and order."""
    return hashlib.sha256(normalised(question).encode()).hexdigest()[:16]
