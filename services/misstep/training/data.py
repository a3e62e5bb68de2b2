"""The data of training stages: teacher solutions, the policy's own solutions, pairs, validation problems."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from misstep.credit.refuted import row_refuted, whole_rollouts
from misstep.credit.rows import RowsByProblem, Verdicts
from misstep.terms.verdict import Verdict
from misstep.training.positives import Sample, select_positives
from misstep.training.rows import Ids, PairRow
from misstep.training.selection import Question

if TYPE_CHECKING:
    import pyarrow as pa

    from misstep.generation.prompts import PromptBuilder
    from misstep.plan.params import PositivesParams
    from misstep.stages.context import StageContext

Example = tuple[Sequence[int], Sequence[int]]
"""Token ids of a prompt and of its response, end token included."""


def teacher_examples(problems: pa.Table, builder: PromptBuilder) -> list[Example]:
    """Return the teacher's solution of each of these problems (of a subset, in which each has a correct one)."""
    columns = (problems[name].to_pylist() for name in ("question", "solution"))
    return [(builder.prompt_ids(q), builder.response_ids(solution)) for q, solution in zip(*columns, strict=True)]


def own_examples(
    ctx: StageContext,
    params: PositivesParams,
    builder: PromptBuilder,
    ends: Collection[int],
    teacher: Sequence[Example],
) -> tuple[list[Example], dict[str, int]]:
    """Return the policy's own correct solutions from the input ``samples``, without those that the teacher also gives,
    and the number of samples left out by reason.

    Raises:
        MisstepError: a sample has no verdict.
    """
    verdicts = Verdicts(ctx)
    lucky = lucky_samples(ctx, verdicts) if params.filter == "advantage" else frozenset()
    samples = _verified_samples(ctx, ends, builder, verdicts, lucky)
    positives = select_positives(samples, params.per_problem, params.min_distance_percent)
    given = {(tuple(prompt), tuple(response)) for prompt, response in teacher}
    examples = [
        (s.prompt_ids, s.token_ids) for s in positives.kept if (tuple(s.prompt_ids), tuple(s.token_ids)) not in given
    ]
    same = len(positives.kept) - len(examples)
    return examples, {**positives.dropped, **({"same-as-teacher": same} if same else {})}


def questions(problems: pa.Table, limit: int, builder: PromptBuilder) -> list[Question]:
    """Return the first ``limit`` validation problems."""
    import pyarrow.compute as pc

    return as_questions(problems.filter(pc.equal(problems["split"], "validation")), limit, builder)


def as_questions(problems: pa.Table, limit: int, builder: PromptBuilder) -> list[Question]:
    """Return the first ``limit`` problems of a table."""
    columns = (problems[name].slice(0, limit).to_pylist() for name in ("problem_id", "question", "gold"))
    return [Question(i, builder.prompt_ids(question), gold) for i, question, gold in zip(*columns, strict=True)]


def lucky_samples(ctx: StageContext, verdicts: Verdicts) -> frozenset[tuple[str, bytes]]:
    """Return the problems and token ids of the samples in which the input ``credit`` found a step that luck saved, and
    no other correct response refutes that (`misstep.credit.refuted`).

    Credit takes one of several equal samples, so numbers of samples would miss the others."""
    credited = RowsByProblem(ctx, "credit", "positives", ["token_ids", "step_ends", "prefix_ids", "pit"])
    columns = ["prefix_id", "token_ids", "verdict", "finish_reason"]
    rollouts = RowsByProblem(ctx, "credit", "positive_rollouts", columns)
    samples = RowsByProblem(ctx, "samples", "samples", ["sample", "token_ids"], only={"finish_reason": "stop"})
    found: set[tuple[str, bytes]] = set()
    names = credited.problems
    for start in range(0, len(names), _PROBLEMS):
        rows = {name: held for name, held in credited.of(names[start : start + _PROBLEMS]).items() if _pits(held)}
        drawn = whole_rollouts(
            (row for held in rows.values() for row in held),
            (row for held in rollouts.of(rows).values() for row in held),
        )
        for problem, held in samples.of(rows).items():
            correct = [row["token_ids"] for row in held if verdicts.of(problem, row["sample"]) is Verdict.CORRECT]
            for row in _pits(rows[problem]):
                if not row_refuted(row, correct, drawn):
                    found.add((problem, np.asarray(row["token_ids"], dtype=np.int32).tobytes()))
    return frozenset(found)


_PROBLEMS = 256
"""Problems whose rollouts are held at once."""


def _pits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["pit"] is not None]


def _verified_samples(
    ctx: StageContext,
    ends: Collection[int],
    builder: PromptBuilder,
    verdicts: Verdicts,
    lucky: Collection[tuple[str, bytes]],
) -> Iterator[Sample]:
    """Stream the policy's samples with their verdicts.

    The response of a sample that ended with a stop string is its text with an end token.
    """
    names = ["problem_id", "sample", "finish_reason", "text", "prompt_ids", "token_ids"]
    for batch in ctx.batches("samples", "samples", names):
        columns = (batch.column(name).to_pylist() for name in names[:4])
        prompts, responses = id_lists(batch.column("prompt_ids")), id_lists(batch.column("token_ids"))
        for problem, sample, reason, text, prompt, response in zip(*columns, prompts, responses, strict=True):
            verdict = verdicts.of(problem, sample)
            by_stop_string = verdict is Verdict.CORRECT and reason == "stop" and int(response[-1]) not in ends
            ids = builder.continuation_ids(text) if by_stop_string else response
            saved = bool(lucky) and (problem, response.tobytes()) in lucky
            yield Sample(problem, sample, array("i", prompt), array("i", ids), reason, verdict, saved)


def stored_pairs(ctx: StageContext) -> Iterator[PairRow]:
    """Stream the pairs of the input ``pairs``."""
    names = ["prompt_ids", "chosen_ids", "rejected_ids"]
    for batch in ctx.batches("pairs", "pairs", [*names, "weight"]):
        weights = batch.column("weight").to_pylist()
        sides = (id_lists(batch.column(name)) for name in names)
        for prompt, chosen, rejected, weight in zip(*sides, weights, strict=True):
            yield PairRow(prompt, chosen, rejected, weight=weight)


def id_lists(column: Any) -> list[Ids]:
    """Return the lists of an Arrow column of token ids as separate arrays."""
    values = np.array(column.flatten(), dtype=np.int32)
    ends = np.cumsum(column.value_lengths().to_numpy())
    return [ids.copy() for ids in np.split(values, ends[:-1])] if len(ends) else []
