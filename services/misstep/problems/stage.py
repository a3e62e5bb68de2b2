"""The ``problems`` stage: every source becomes one checked table of problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.artifacts.records import PROBLEMS
from misstep.errors import BadInput
from misstep.plan.params import ProblemsParams, SourceParams
from misstep.problems.formats import ReadSplit, hub_rows, read_source
from misstep.problems.ingest import Ingest, check_split, hold_out, leave_out_overlap
from misstep.problems.raw import RawProblem
from misstep.stages.context import Output, StageContext, Work
from misstep.verification.verdict import Verdict
from misstep.verification.verifier import AnswerFormat, Verifier

if TYPE_CHECKING:
    import pyarrow as pa


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: one block."""
    return _Problems(ctx)


class _Problems:
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, ProblemsParams)
        self.ctx, self.params = ctx, ctx.params
        self.verifier = Verifier(AnswerFormat(self.params.answer_format), workers=ctx.threads)

    def blocks(self) -> int:
        return 1

    def close(self) -> None:
        self.verifier.close()

    def run(self, block: int) -> Output:
        params = self.params
        found = Ingest()
        seen: set[str] = set()
        # Test first: a problem that stands in both is a test problem.
        sources: list[tuple[ReadSplit, SourceParams | None]] = [
            ("test", params.test),
            ("validation", params.validation),
            ("train", params.train),
        ]
        for split, source in sources:
            if source is not None:
                raw = self._raw(split, source)
                check_split(found, split, raw, self._readable, params.bad_gold_percent, source.limit, seen)
        leave_out_overlap(found, params.overlap_ngram)
        hold_out(found, params.held_out)
        table, solutions = self._with_solution_verdicts(found)
        return Output(
            tables={"problems": table},
            summary={
                "problems": dict(Counter(p.split for p in found.problems)),
                "duplicates": dict(found.duplicates),
                "bad_gold": dict(found.bad_gold),
                "bad_gold_examples": found.bad_gold_examples,
                "test_problems_in_training": found.held_out_in_training,
                "left_out_of_training": found.left_out_of_training,
                "teacher_solutions": dict(solutions),
            },
        )

    def _readable(self, gold: str) -> bool:
        return self.verifier.parse_gold(gold) is not None

    def _raw(self, split: ReadSplit, source: SourceParams) -> Iterator[RawProblem]:
        role = f"source_{split}"
        if not self.ctx.has(role):
            return read_source(source, None, split)
        uri = self.ctx.stage.externals[role].uri
        if uri.startswith("hf://"):
            return read_source(source, Path(uri), split, hub_rows(uri))
        return read_source(source, self.ctx.external_path(role), split)

    def _with_solution_verdicts(self, found: Ingest) -> tuple[pa.Table, Counter[str]]:
        """Judge the teacher's training solutions: only correct ones may be imitated."""
        import pyarrow as pa

        problems = found.problems
        judged = [i for i, p in enumerate(problems) if p.split == "train" and p.solution]
        verdicts: list[str | None] = [None] * len(problems)
        items = ((problems[i].solution or "", problems[i].gold) for i in judged)
        counts: Counter[str] = Counter()
        for done, (i, judgement) in enumerate(zip(judged, self.verifier.judge(items), strict=True), 1):
            verdicts[i] = judgement.verdict.value
            counts[judgement.verdict.value] += 1
            if done % 256 == 0 or done == len(judged):
                self.ctx.progress.update(done, len(judged), "solutions")
        if not counts[Verdict.CORRECT] and not self.params.seeds:
            raise BadInput(
                "spec.problems.train",
                f"no teacher solution reaches its problem's final answer ({dict(counts) or 'there are none'})",
                "Fine-tuning needs correct solutions: set columns.solution, or verification.answerFormat to the "
                "form in which they end.",
            )
        columns = {
            "problem_id": [p.problem_id for p in problems],
            "split": [p.split for p in problems],
            "question": [p.question for p in problems],
            "gold": [p.gold for p in problems],
            "solution": [p.solution for p in problems],
            "solution_verdict": verdicts,
            "source": [(getattr(self.params, p.split) or self.params.train).format for p in problems],
        }
        return pa.table(columns, schema=PROBLEMS), counts
