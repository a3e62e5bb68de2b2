"""The prompts of a teacher. They follow Xwin-Math (Li et al. 2024, arXiv 2403.04706): a brand-new question from a seed,
a turn that checks and repairs it, then step-by-step solutions, each in its own request."""

from __future__ import annotations

from typing import Literal

from misstep.synthesis.asks import Message

Style = Literal["hash", "boxed"]

SYSTEM = "You are an experienced teacher of mathematics who writes clear, correct problems and solutions."
"""System turn of every conversation."""

WRITE = """\
Here is a problem:

<given>
{question}
</given>

Write one brand-new problem for the same students. It must
- be about another situation, with other names, other numbers and another line of reasoning: no copy with new numbers;
- be about as difficult as the given problem, or a little more;
- be complete: everything that is needed to solve it stands in it, and nothing contradicts;
- ask for exactly one final answer, {answer}.

Write only the problem, without its solution, in this form:

<problem>
...
</problem>"""

CHECK = """\
Now check your problem as a strict colleague would: solve it for yourself, and look for missing or contradictory \
facts, impossible quantities, more than one possible answer, and wording that could be misread. Repair what is wrong. \
If it is sound, keep it word for word. If it cannot be repaired, say so.

Answer in this form, with one of the words SOUND, REPAIRED, HOPELESS as the verdict, and then the final problem:

<verdict>...</verdict>
<problem>
...
</problem>"""

SOLVE = """\
Solve this problem step by step. Write one step a line, in plain words with the calculation, and leave nothing out \
that a student needs. {ending}

<problem>
{question}
</problem>"""

ANSWER: dict[Style, str] = {
    "hash": "which is a number",
    "boxed": "which is a number or a short expression",
}
"""The kind of final answer that a new problem may ask for."""
ENDING: dict[Style, str] = {
    "hash": "End with a line that holds four hash signs and the final answer alone, as a number without units: #### 42",
    "boxed": r"Put the final answer, and nothing else, into \boxed{} at the end.",
}
"""How a solution must end."""


def write(question: str, style: Style) -> tuple[Message, ...]:
    """Ask for a new problem."""
    return (("system", SYSTEM), ("user", _filled(WRITE, question=question, answer=ANSWER[style])))


def check(question: str, style: Style, written: str) -> tuple[Message, ...]:
    """Ask to check the written problem, as the next turn of the same conversation."""
    return (*write(question, style), ("assistant", written), ("user", CHECK))


def solve(question: str, style: Style) -> tuple[Message, ...]:
    """Ask for a solution."""
    return (("system", SYSTEM), ("user", _filled(SOLVE, question=question, ending=ENDING[style])))


def _filled(template: str, **parts: str) -> str:
    # Not str.format: problems are full of braces. The question comes last, since it may contain anything.
    for name in sorted(parts, key=lambda name: name == "question"):
        template = template.replace(f"{{{name}}}", parts[name])
    return template
