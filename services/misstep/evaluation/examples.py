"""Examples of credit: Q by step over all wrong solutions, and a few of these to read, chosen automatically."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from misstep.evaluation.gather import distinct
from misstep.plan.params import GridPoint
from misstep.stages.context import StageContext
from misstep.terms.layouts import CREDITED


@dataclass(frozen=True)
class StepView:
    """One step of a wrong solution, with the prover's value after it, or else the probability that this is above zero
    (None if neither is known)."""

    text: str
    q: float | None
    pit: bool


@dataclass(frozen=True)
class Example:
    """A wrong solution with its credit, and the chosen side of its pair."""

    question: str
    gold: str
    size: int
    seed: int
    from_arm: str | None
    """The arm whose model the policy is; None for SFT's policy."""
    q_start: float | None
    steps: tuple[StepView, ...]
    reason: str | None
    """Why there is no pit."""
    layout: str | None
    """The chosen side of its pair; None if no pair was kept."""
    chosen: str | None


@dataclass
class QByStep:
    """Mean Q after each step, for wrong solutions with the pit at the same step."""

    sums: dict[tuple[int, int], float] = field(default_factory=dict)
    counts: dict[tuple[int, int], int] = field(default_factory=dict)
    """(pit, whole steps in the prefix) -> values."""
    has_inner: bool = False
    """Whether any value is of a prefix between the bare problem and the whole solution."""

    def add(self, pit: int, values: Sequence[float | None]) -> None:
        """Add one wrong solution: Q after 0, 1, ... L steps."""
        self.has_inner = self.has_inner or any(value is not None for value in values[1:-1])
        for step, value in enumerate(values):
            if value is not None:
                self.sums[pit, step] = self.sums.get((pit, step), 0.0) + value
                self.counts[pit, step] = self.counts.get((pit, step), 0) + 1

    def mean(self, pit: int, step: int) -> float | None:
        """Return the mean, or None if nothing was estimated."""
        count = self.counts.get((pit, step), 0)
        return self.sums[pit, step] / count if count else None


@dataclass(frozen=True, order=True)
class _Candidate:
    """Sorted by content (with a pair, with a pit, with neither), then by a hash: the first ones are the examples."""

    rank: int
    digest: bytes
    role: str
    problem_id: str
    sample: int


def read_credit(ctx: StageContext, grid: tuple[GridPoint, ...], count: int) -> tuple[QByStep, list[Example]]:
    """Stream all credited negatives; return Q by step and at most ``count`` examples of different problems."""
    picture = QByStep()
    pairs = _pair_roles(ctx, grid)
    best: dict[str, _Candidate] = {}
    roles = dict(distinct(ctx, grid, "credit"))
    for role in roles:
        paired = {key for _, name in pairs.get(role, ()) for key in _paired(ctx, name)}
        for batch in ctx.batches(role, "negatives", ["problem_id", "sample", "q", "pit"]):
            for row in batch.to_pylist():
                if row["pit"] is not None:
                    picture.add(row["pit"], row["q"])
                if role not in pairs:
                    continue  # only used by control layouts: no credited method has learned from it
                candidate = _candidate(role, row, paired)
                best[row["problem_id"]] = min(best.get(row["problem_id"], candidate), candidate)
        # Only the best few can become examples; dropping the rest keeps memory small.
        best = {c.problem_id: c for c in sorted(best.values())[:count]}
    chosen = sorted(best.values())
    questions = _questions(ctx, {c.problem_id for c in chosen})
    return picture, [_example(ctx, c, roles[c.role], pairs.get(c.role, []), questions) for c in chosen]


def _pair_roles(ctx: StageContext, grid: tuple[GridPoint, ...]) -> dict[str, list[tuple[str, str]]]:
    """Return, for each distinct credit, the layouts and roles of the pairs made from it."""
    by_key = {ctx.stage.inputs[role]: role for role, _ in distinct(ctx, grid, "credit")}
    found: dict[str, list[tuple[str, str]]] = {}
    for index, point in enumerate(grid):
        if point.layout in CREDITED and ctx.has(f"credit_{index}") and ctx.has(f"pairs_{index}"):
            credit = by_key[ctx.stage.inputs[f"credit_{index}"]]
            found.setdefault(credit, []).append((point.layout, f"pairs_{index}"))
    return {credit: sorted(roles, key=lambda r: CREDITED.index(r[0])) for credit, roles in found.items()}


def _paired(ctx: StageContext, role: str) -> Iterator[tuple[str, int]]:
    for batch in ctx.batches(role, "pairs", ["problem_id", "negative_sample"]):
        yield from zip(batch.column("problem_id").to_pylist(), batch.column("negative_sample").to_pylist(), strict=True)


def _candidate(role: str, row: dict[str, Any], paired: set[tuple[str, int]]) -> _Candidate:
    problem, sample = row["problem_id"], row["sample"]
    rank = 0 if (problem, sample) in paired else 1 if row["pit"] is not None else 2
    digest = hashlib.sha256(f"example {problem} {sample}".encode()).digest()
    return _Candidate(rank, digest, role, problem, sample)


def _questions(ctx: StageContext, problems: set[str]) -> dict[str, tuple[str, str]]:
    found = {}
    for batch in ctx.batches("problems", "problems", ["problem_id", "question", "gold"]):
        for row in batch.to_pylist():
            if row["problem_id"] in problems:
                found[row["problem_id"]] = (row["question"], row["gold"])
    return found


def _example(
    ctx: StageContext,
    candidate: _Candidate,
    point: GridPoint,
    pairs: list[tuple[str, str]],
    questions: dict[str, tuple[str, str]],
) -> Example:
    columns = ["problem_id", "sample", "step_texts", "q", "alive", "pit", "reason"]
    row = _find(ctx, candidate.role, "negatives", columns, candidate, "sample")
    assert row is not None  # the candidate came from this table
    question, gold = questions[candidate.problem_id]
    values = [alive if q is None else q for q, alive in zip(row["q"], row["alive"], strict=True)]
    layout, chosen = None, None
    for name, role in pairs:
        pair = _find(ctx, role, "pairs", ["problem_id", "negative_sample", "chosen_text"], candidate, "negative_sample")
        if pair is not None:
            layout, chosen = name, pair["chosen_text"]
            break
    return Example(
        question=question,
        gold=gold,
        size=point.size,
        seed=point.seed,
        from_arm=point.from_arm,
        q_start=row["q"][0] if row["q"] else None,
        steps=tuple(
            StepView(text, values[number], number == row["pit"]) for number, text in enumerate(row["step_texts"], 1)
        ),
        reason=row["reason"],
        layout=layout,
        chosen=chosen,
    )


def _find(
    ctx: StageContext, role: str, table: str, columns: list[str], candidate: _Candidate, sample: str
) -> dict[str, Any] | None:
    for batch in ctx.batches(role, table, columns):
        problems = batch.column("problem_id").to_pylist()
        for index, problem in enumerate(problems):
            if problem == candidate.problem_id and batch.column(sample)[index].as_py() == candidate.sample:
                found: dict[str, Any] = batch.slice(index, 1).to_pylist()[0]
                return found
    return None
