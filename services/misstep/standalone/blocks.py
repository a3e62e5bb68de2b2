"""Credit one block of problems, and make its pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from misstep.credit.layouts import Answer, Pair, ProblemAnswers, pair_up
from misstep.credit.pairs_stage import pairs_table
from misstep.credit.passes import Pass
from misstep.credit.tables import credit_counts, credit_tables, positive_counts, positive_tables
from misstep.terms.layouts import Layout
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from misstep.credit.block import CreditedBlock, CreditedResponse
    from misstep.credit.scheduler import Scheduler
    from misstep.credit.selection import CreditProblem
    from misstep.standalone.choosing import Choice
    from misstep.terms.verdict import Judgement

LAYOUT: Layout = "shared-prefix"
Judgements = Mapping[tuple[str, int], "Judgement"]


def credit_block(
    scheduler: Scheduler,
    problems: Sequence[CreditProblem],
    choice: Choice,
    judged: Judgements,
    pairs_per_problem: int,
    seed: int,
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Credit a block; return its tables and counts."""
    before = scheduler.usage
    wrong = [problem for problem in problems if problem.negatives]
    right = [problem for problem in problems if problem.positives]
    begun = [scheduler.begin(wrong), scheduler.begin(right, Pass("full-scan", "positives", correct=True))]
    negatives, positives = scheduler.finish(begun)
    pairs, dropped = pairs_of(wrong, negatives, choice, judged, pairs_per_problem, seed)
    tables = credit_tables(negatives) | {"pairs": pairs_table(pairs)}
    if right:
        tables |= positive_tables(positives)
    summary = {
        **credit_counts(negatives),
        "positives": positive_counts(positives),
        **scheduler.usage.since(before),
        "pairs": len(pairs),
        "no_pair": dict(sorted(dropped.items())),
    }
    return tables, summary


def pairs_of(
    problems: Sequence[CreditProblem],
    credited: CreditedBlock,
    choice: Choice,
    judged: Judgements,
    per_problem: int,
    seed: int,
) -> tuple[list[Pair], Counter[str]]:
    """Build the pairs of a block, and count why other wrong responses gave none."""
    found: dict[str, list[CreditedResponse]] = {}
    for response in credited.negatives:
        found.setdefault(response.problem_id, []).append(response)
    solved: dict[str, dict[str, list[Answer]]] = {}
    for prefix, _, rollout in credited.rollouts():
        if rollout.solved:
            answers = solved.setdefault(prefix.problem.problem_id, {}).setdefault(prefix.prefix_id, [])
            answers.append(Answer(rollout.token_ids, rollout.text, "rollout"))
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for problem in problems:
        name = problem.problem_id
        made = pair_up(
            LAYOUT,
            ProblemAnswers(
                problem_id=name,
                prompt_ids=problem.prompt_ids,
                correct=list(_right(name, choice, judged)),
                wrong=(),
                credited=found.get(name, ()),
                solved=solved.get(name, {}),
            ),
            per_problem,
            seed,
        )
        pairs += made.pairs
        dropped += made.dropped
    return pairs, dropped


def _right(name: str, choice: Choice, judged: Judgements) -> Iterator[Answer]:
    """Yield the distinct right responses to a problem."""
    seen = set()
    for sample in choice.samples[name]:
        each = choice.encoded.get((name, sample))
        right = each is not None and each.problem is None and judged[name, sample].verdict is Verdict.CORRECT
        if each is not None and right and each.token_ids not in seen:
            seen.add(each.token_ids)
            yield Answer(each.token_ids, each.text, "sample", sample)
