"""Credit one block of problems, and make its pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from misstep.credit.layouts import Answer, Pair, ProblemAnswers, by_prefix, distinct
from misstep.credit.pair_up import pair_up
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


@dataclass(frozen=True, slots=True)
class FilePairs:
    """Makes the pairs of a file, block by block.

    ``per_problem``: pairs of one problem, at most.
    """

    choice: Choice
    judged: Judgements
    per_problem: int
    seed: int

    def of(self, problems: Sequence[CreditProblem], credited: CreditedBlock) -> tuple[list[Pair], Counter[str]]:
        """Build the pairs of a block, and count why other wrong responses gave none."""
        found: dict[str, list[CreditedResponse]] = {}
        for response in credited.negatives:
            found.setdefault(response.problem_id, []).append(response)
        # A prefix id names its problem too.
        solved = by_prefix((p.prefix_id, r.token_ids, r.text) for p, _, r in credited.rollouts() if r.solved)
        pairs: list[Pair] = []
        dropped: Counter[str] = Counter()
        for problem in problems:
            name = problem.problem_id
            own = found.get(name, ())
            answers = ProblemAnswers(
                problem_id=name,
                prompt_ids=problem.prompt_ids,
                correct=distinct(self._correct(name)),
                wrong=(),
                credited=own,
                solved={id_: solved[id_] for each in own for id_ in each.prefix_ids if id_ in solved},
            )
            made = pair_up(LAYOUT, answers, self.per_problem, self.seed)
            pairs += made.pairs
            dropped += made.dropped
        return pairs, dropped

    def _correct(self, name: str) -> Iterator[Answer]:
        for sample in self.choice.samples[name]:
            each = self.choice.encoded.get((name, sample))
            if each is not None and each.problem is None and self.judged[name, sample].verdict is Verdict.CORRECT:
                yield Answer(each.token_ids, each.text, "sample", sample)


def credit_block(
    scheduler: Scheduler, problems: Sequence[CreditProblem], made: FilePairs
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """Credit a block; return its tables and counts."""
    before = scheduler.usage
    wrong = [problem for problem in problems if problem.negatives]
    correct = [problem for problem in problems if problem.positives]
    begun = [scheduler.begin(wrong), scheduler.begin(correct, Pass("full-scan", "positives", correct=True))]
    negatives, positives = scheduler.finish(begun)
    pairs, dropped = made.of(wrong, negatives)
    tables = credit_tables(negatives) | {"pairs": pairs_table(pairs)}
    if correct:
        tables |= positive_tables(positives)
    summary = {
        **credit_counts(negatives),
        "positives": positive_counts(positives),
        **scheduler.usage.since(before),
        "pairs": len(pairs),
        "no_pair": dict(sorted(dropped.items())),
    }
    return tables, summary
