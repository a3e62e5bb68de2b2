"""A credited solution as the page shows it: its steps, its pit, and the continuations that decided. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from misstep.credit.evidence import Evidence, Known

Row = Mapping[str, Any]
MOST_SHOWN = 20
"""Continuations of one prefix."""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a prefix."""

    number: float | None
    kind: Literal["q", "alive", "unknown"]
    """``q``: the estimate of Q. ``alive``: the probability that Q > 0, where there is no estimate."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """A response to the problem whose outcome is known."""

    text: str
    """From its place on."""
    verdict: str
    cut_off: bool
    """It reached the limit of tokens."""
    begun: int | None
    """It was drawn after so many whole steps, a sample of the problem after none; None where its place says it."""
    sample: bool
    """It is a sample of the problem, and not a rollout."""

    @property
    def solved(self) -> bool:
        """Return whether it counts as a success."""
        return self.verdict == "correct" and not self.cut_off


@dataclass(frozen=True, slots=True)
class KnownResponse:
    """A continuation, and what places it among the steps of a solution."""

    continuation: Continuation
    prefix_id: str | None
    """The prefix that it was drawn from; None for a sample."""
    token_ids: tuple[int, ...]
    """Of the whole response, its prefix included, like the text; empty where only ``prefix_id`` places it, and then the
    text begins after the prefix."""
    number: int
    """The sample's, or -1."""


@dataclass(frozen=True, slots=True)
class Place:
    """A prefix that decided, and the known continuations that the search counted there."""

    steps: int
    """Whole steps in the prefix."""
    solved: int
    failed: int
    shown: tuple[Continuation, ...]
    """At most `MOST_SHOWN`."""
    known: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a solution."""

    text: str
    value: Value
    """After the step."""
    counts: tuple[int, int] | None
    """Known successes and failures after the step; None after the last one."""
    pit: bool
    true: bool
    """It is the true first error."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A credited solution."""

    problem_id: str
    sample: int
    question: str
    gold: str
    correct: bool
    start: Value
    start_counts: tuple[int, int] | None
    steps: tuple[StepView, ...]
    pit: int | None
    true_pit: int | None
    certainty: float | None
    reason: str | None
    scans: tuple[int | None, ...]
    """The pits that full scans with fresh rollouts found; none where it was not audited."""
    before: Place | None
    """The prefix before the pit; without a pit the bare problem."""
    at: Place | None
    """The prefix that ends with the pit; None where that is the whole solution."""


def solution(
    row: Row,
    question: tuple[str, str],
    known: Sequence[KnownResponse],
    by_path: bool,
    correct: bool,
    scans: tuple[int | None, ...] = (),
) -> Solution:
    """Make the view of a row of ``negatives`` or ``positives``.

    Args:
        question: the question, and the gold answer.
        known: all known continuations of the problem.
        by_path: place each one at the longest prefix that it passes through, as the adaptive search does; otherwise at
            the prefix from which it was drawn.
        correct: whether the solution is correct.
        scans: the pits of the audit's scans.
    """
    pit, steps = row["pit"], len(row["step_texts"])
    places = placed(row, known, by_path)
    before = 0 if pit is None else pit - 1
    return Solution(
        problem_id=row["problem_id"],
        sample=row["sample"],
        question=question[0],
        gold=question[1],
        correct=correct,
        start=value(_at(row["q"], 0), _at(row["alive"], 0)),
        start_counts=_counts(row, 0),
        steps=tuple(
            StepView(
                text=text,
                value=value(_at(row["q"], number), _at(row["alive"], number)),
                counts=_counts(row, number),
                pit=number == pit,
                true=number == row["true_pit"],
            )
            for number, text in enumerate(row["step_texts"], 1)
        ),
        pit=pit,
        true_pit=row["true_pit"],
        certainty=row["certainty"],
        reason=row["reason"],
        scans=scans,
        before=_place(row, before, places.get(before, ())),
        at=None if pit is None or pit >= steps else _place(row, pit, places.get(pit, ())),
    )


def value(q: float | None, alive: float | None) -> Value:
    """Return the estimate of Q, or else the probability that Q > 0."""
    if q is not None:
        return Value(q, "q")
    return Value(None, "unknown") if alive is None else Value(alive, "alive")


def placed(row: Row, known: Iterable[KnownResponse], by_path: bool) -> dict[int, list[Continuation]]:
    """Return the continuations of a solution's prefixes, by whole steps in the prefix. What says nothing of any is left
    out, and so is the solution itself."""
    steps = {name: number for number, name in enumerate(row["prefix_ids"][:-1])}
    ids, ends = tuple(row["token_ids"]), tuple(row["step_ends"])
    found: dict[int, list[Continuation]] = {}
    for one in known:
        if one.prefix_id is None and one.number == row["sample"]:
            continue
        if by_path:
            counted = Evidence(ids, ends).add([Known(one.token_ids, one.continuation.solved)])
            if not counted:
                continue
            place = counted[0][0]
            before = "".join(row["step_texts"][:place])
            text = one.continuation.text.removeprefix(before)
        elif one.prefix_id is None or one.prefix_id in steps:
            place = 0 if one.prefix_id is None else steps[one.prefix_id]
            text = one.continuation.text
        else:
            continue
        found.setdefault(place, []).append(replace(one.continuation, text=text))
    return found


def _place(row: Row, steps: int, known: Sequence[Continuation]) -> Place | None:
    counts = _counts(row, steps)
    if counts is None:
        return None
    ordered = sorted(known, key=lambda one: not one.solved)
    return Place(steps, *counts, tuple(ordered[:MOST_SHOWN]), len(known))


def _counts(row: Row, number: int) -> tuple[int, int] | None:
    solved, failed = _at(row["solved"], number), _at(row["failed"], number)
    return None if solved is None or failed is None else (solved, failed)


def _at(values: Sequence[Any] | None, number: int) -> Any:
    return values[number] if values and number < len(values) else None
