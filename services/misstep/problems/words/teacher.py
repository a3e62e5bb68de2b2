"""The teacher of word problems: always right, and in a hurry, as people are.

A solution has one step a line, ``3 * 4 = 12 apples``, and ends in ``#### 12``. Some lines do two operations at
once (``3 * 4 + 5 = 17``), and some steps are done in the head: a later line just uses their result.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from misstep.problems.drawing import choose

MOST = 60
"""No number of a problem or a solution is larger."""
MOST_PRODUCT = 36
_WRITTEN, _JOINED, _IN_THE_HEAD = range(3)
_WAYS = (0.65, 0.25, 0.1)
_LOOSE = "+-"


@dataclass(frozen=True)
class Step:
    """One operation: ``result = left operator right``."""

    result: str
    left: str
    operator: str
    right: str
    unit: str

    @classmethod
    def read(cls, text: str) -> Step:
        """Read ``x = a * b : unit``."""
        operation, _, unit = text.partition(" : ")
        result, _, left, operator, right = operation.split()
        return cls(result, left, operator, right, unit)


def results(steps: Sequence[Step], numbers: Mapping[str, int]) -> dict[str, int] | None:
    """Return all numbers with the steps' results.

    Returns:
        None if a number is out of reach: below two, above `MOST`, a fraction, or a product above `MOST_PRODUCT`.
    """
    known = dict(numbers)
    for step in steps:
        left, right = _value(step.left, known), _value(step.right, known)
        if step.operator == "/" and left % right:
            return None
        found = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[step.operator]
        if not 2 <= found <= (MOST_PRODUCT if step.operator == "*" else MOST):
            return None
        known[step.result] = found
    return known


def solution(steps: Sequence[Step], known: Mapping[str, int], gaps: Mapping[str, str], rng: random.Random) -> str:
    """Write the teacher's solution.

    Args:
        known: what `results` returned.
        gaps: the text of each gap of the story.
    """
    written = {name: str(value) for name, value in known.items()}
    lines = []
    joined: str | None = None
    hidden = False
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        text = f"{written.get(step.left, step.left)} {step.operator} {written.get(step.right, step.right)}"
        once = sum(step.result in (later.left, later.right) for later in steps) == 1
        way = _WRITTEN
        if following is not None and once and joined is None:
            way = choose(rng, _WAYS[:_IN_THE_HEAD] if hidden else _WAYS)
        if way == _JOINED and following is not None and step.result in (following.left, following.right):
            joined = step.result
            written[joined] = f"({text})" if _needs_brackets(step, following) else text
            continue
        joined = None
        if way == _IN_THE_HEAD:
            hidden = True
        else:
            lines.append(f"{text} = {known[step.result]} {step.unit.format(**gaps)}")
    return "\n".join([*lines, f"#### {known[steps[-1].result]}"])


def _needs_brackets(inner: Step, outer: Step) -> bool:
    """Say whether an operation needs brackets inside another."""
    if inner.operator in _LOOSE:
        return outer.operator in "*/" or (outer.operator == "-" and outer.right == inner.result)
    return outer.operator == "/" or (outer.operator == "*" and inner.operator == "/")


def _value(name: str, known: Mapping[str, int]) -> int:
    return int(name) if name.isdigit() else known[name]
