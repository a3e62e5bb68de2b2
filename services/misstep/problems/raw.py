"""A problem as a source gives it, before checks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawProblem:
    """One problem.

    Attributes:
        question: the problem's text; empty where the source has none.
        gold: final answer, as the source writes it; empty where it has none.
        solution: the teacher's step-by-step solution, where the source has one.
        where: file and line (or the like), for messages.
        source_id: the source's own id, where it has one.
        reason: why there is no gold, a key of ``non_answers.WORDS``; empty where the text itself decides.
        said: what the source says in place of a gold, for messages.
        remarks: what reading left out or what looks odd, in words, for a count.
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
    """Fold case and white space, so that trivially different copies of a question are the same."""
    return " ".join(text.casefold().split())


def problem_id(question: str) -> str:
    """Name a problem by its content: the same question has the same id in whatever file and order it comes."""
    return hashlib.sha256(normalised(question).encode()).hexdigest()[:16]
