"""Solutions: read the final answer of each, normalise its form at the end, and find the answer on which several
agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from misstep.synthesis.parse import MAX_SOLUTION_CHARS, without_thoughts
from misstep.synthesis.prompts import Style
from misstep.verification.extract import AnswerFormat, extract_answer
from misstep.verification.normal import MAX_ANSWER_CHARS


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution whose final answer could be read.

    Attributes:
        text: the solution; it ends with the answer in the data set's form.
        answer: the final answer, in the teacher's spelling.
    """

    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of a vote: the positions of the solutions that agree, and the votes of the second-best answer."""

    winners: tuple[int, ...]
    runner_up: int


def read_solution(text: str, style: Style) -> Solution | None:
    """Read one solution of a teacher; None if it states no final answer, or only one that is too long."""
    text = without_thoughts(text)
    if not text or len(text) > MAX_SOLUTION_CHARS:
        return None
    own = extract_answer(text, AnswerFormat(style)).answer
    answer = own or extract_answer(text, AnswerFormat.AUTO).answer
    if answer is None or not answer.strip() or len(answer) > MAX_ANSWER_CHARS:
        return None
    return Solution(_ended(text, style, answer, stated=own is not None), answer)


def _ended(text: str, style: Style, answer: str, *, stated: bool) -> str:
    """Make the text end with its answer in the style's form, once: the policy learns to stop there."""
    if style == "boxed":
        return text if stated else f"{text}\nThe final answer is $\\boxed{{{answer}}}$."
    lines = text.split("\n")
    marked = next((i for i, line in enumerate(lines) if line.lstrip().startswith("####") and answer in line), None)
    before = "\n".join(lines if marked is None else lines[:marked]).rstrip()
    return f"{before}\n#### {answer}" if before else f"#### {answer}"


def vote(answers: Sequence[str | None], same: Callable[[int, int], bool]) -> Vote:
    """Count which answer most solutions reach.

    Args:
        answers: the answer of each solution, None if none could be read.
        same: returns whether the solution at the first position has the answer at the second. Each solution votes for
            the first earlier answer that it has.

    Returns:
        The positions that agree, in a tie those of the earliest answer; none if no answer could be read.
    """
    groups: list[list[int]] = []
    for position, answer in enumerate(answers):
        if answer is None:
            continue
        group = next((g for g in groups if answers[g[0]] == answer or same(position, g[0])), None)
        if group is None:
            groups.append([position])
        else:
            group.append(position)
    ranked = sorted(groups, key=lambda group: (-len(group), group[0]))
    if not ranked:
        return Vote((), 0)
    return Vote(tuple(ranked[0]), len(ranked[1]) if len(ranked) > 1 else 0)
