"""What crediting a file will cost, counted before a model is loaded. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from misstep.credit.block import prefix_id
from misstep.credit.estimators import EstimatorName
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.work import share_of_scan
from misstep.plan.params import CreditParams
from misstep.standalone.choosing import CREDITED, REASONS, Choice
from misstep.standalone.rows import GivenFile
from misstep.terms.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class Cost:
    """Rollouts and their generated tokens, as expected and at most."""

    rollouts: int
    most_rollouts: int
    tokens: int
    most_tokens: int


@dataclass(frozen=True, slots=True)
class FilePlan:
    """The counts of a file, and the cost of crediting it."""

    rows: int
    problems: int
    responses: int
    verdicts: dict[str, int]
    status: dict[str, int]
    """Responses and empty rows, by status."""
    credited: int
    steps: int
    """Of the credited responses."""
    blocks: int
    cost: Cost

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it as lines for a person."""
        correct, wrong = self.verdicts.get(Verdict.CORRECT, 0), self.verdicts.get(Verdict.WRONG, 0)
        lines = [
            f"{self.rows:,} rows, {self.problems:,} problems, {self.responses:,} responses: {correct:,} correct, "
            f"{wrong:,} wrong, {self.responses - correct - wrong:,} unreadable",
            f"{self.credited:,} responses to credit, with {self.steps:,} steps, in {self.blocks:,} "
            f"{'block' if self.blocks == 1 else 'blocks'}",
        ]
        left = [(count, REASONS[name]) for name, count in self.status.items() if name != CREDITED and count]
        lines += [f"  not credited: {count:,}, {why}" for count, why in left]
        cost = self.cost
        lines.append(
            f"about {cost.rollouts:,} rollouts and {cost.tokens:,} generated tokens; at most {cost.most_rollouts:,} "
            f"rollouts and {cost.most_tokens:,} tokens"
        )
        return lines


def plan_file(
    read: GivenFile, judgements: Sequence[Judgement], choice: Choice, credit: CreditParams, block: int
) -> FilePlan:
    """Count a file and what crediting it will cost."""
    responses = [each for p in choice.problems for each in (*p.negatives, *p.positives)]
    return FilePlan(
        rows=read.rows,
        problems=len(read.problems),
        responses=read.responses,
        verdicts=dict(sorted(Counter(judgement.verdict.value for judgement in judgements).items())),
        status=dict(sorted((choice.counts() + read.empty).items())),
        credited=len(responses),
        steps=sum(len(each.steps.ends) for each in responses if each.steps is not None),
        blocks=-(-len(choice.problems) // block),
        cost=cost_of(choice.problems, credit),
    )


def cost_of(problems: Sequence[CreditProblem], credit: CreditParams) -> Cost:
    """Count what crediting problems costs.

    A rollout is expected to be as long as what its response has after the prefix. Prefixes that responses share are
    counted once. Correct responses are scanned in full.
    """
    expected = tokens = 0.0
    most = most_tokens = 0
    limit = credit.decoding.max_new_tokens
    for problem in problems:
        bare = problem.samples.rollouts < credit.best_of
        estimators: list[tuple[Sequence[SampledResponse], EstimatorName]] = [
            (problem.negatives, credit.estimator),
            (problem.positives, "full-scan"),
        ]
        for responses, estimator in estimators:
            lengths: dict[str, tuple[int, int, float]] = {}
            for response in responses:
                assert response.steps is not None
                share = share_of_scan(estimator, len(response.steps.ends), credit.rollouts)
                for end in (0, *response.steps.ends[:-1]) if bare else response.steps.ends[:-1]:
                    name = prefix_id(problem.problem_id, response.token_ids[:end])
                    lengths.setdefault(name, (end, len(response.token_ids) - end, share))
            for end, left, share in lengths.values():
                rollouts = credit.rollouts
                part = share if end else 1.0  # the bare problem always gets all its rollouts
                expected += part * rollouts
                tokens += part * rollouts * left
                most += rollouts
                most_tokens += rollouts * (limit - end)
    return Cost(round(expected), most, round(tokens), most_tokens)
