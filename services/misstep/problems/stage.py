"""The ``problems`` stage: converts all sources to one checked table of problems."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.artifacts.output import Output, Summary
from misstep.artifacts.records import PROBLEMS
from misstep.errors import BadInput
from misstep.plan.params import ProblemsParams, SourceParams
from misstep.problems.complaints import dropped_words, excerpt, solutions_complaint
from misstep.problems.formats import Reading, hub_rows, read_source
from misstep.problems.generated import ReadSplit
from misstep.problems.ingest import Counts, Ingest, Problem, check_split, examples, hold_out, leave_out_overlap
from misstep.problems.non_answers import WORDS
from misstep.stages.context import StageContext, Work
from misstep.terms.verdict import Verdict
from misstep.verification.verifier import AnswerFormat, Verifier

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)
_NEEDED = "those that choose checkpoints (spec.training.*.selection.problems) and spec.search.problems"
_FEWER = "lower one of them"


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
        seen: dict[str, int] = {}
        columns = ""
        # Test first: a problem in both splits is a test problem.
        sources: list[tuple[ReadSplit, SourceParams | None]] = [
            ("test", params.test),
            ("validation", params.validation),
            ("train", params.train),
        ]
        for split, source in sources:
            if source is None:
                continue
            raw = self._raw(split, source)
            limit = None if source.limit is None else max(0, source.limit - source.skip)
            check_split(found, split, raw, self._readable, params.bad_gold_percent, limit, seen)
            columns = raw.columns() if raw.sample else ""
            self._say(split, found.counts[split])
        if params.test is not None:
            leave_out_overlap(found, params.overlap_ngram, "test")
            hold_out(found, params.held_out)
        else:  # a search: its held-out problems are treated like test problems
            if params.held_out == params.validation_needed:
                hold_out(found, params.held_out, f"The search needs this many, {_NEEDED}: {_FEWER}.")
            else:
                hold_out(found, params.held_out)
            self._refuse_few(found)
            leave_out_overlap(found, params.overlap_ngram, "validation")
        judged = self._judge_solutions(found.problems)
        if not judged.counts[Verdict.CORRECT] and not params.seeds:
            without = judged.without_solution
            raise solutions_complaint(
                judged.counts.total() + without, without, judged.counts, judged.examples, params.answer_format, columns
            )
        return Output(tables={"problems": self._table(judged)}, summary=self._summary(found, judged))

    def _refuse_few(self, found: Ingest) -> None:
        """Refuse fewer validation problems than the search needs."""
        have, needed = sum(p.split == "validation" for p in found.problems), self.params.validation_needed
        if have >= needed:
            return
        counts = found.counts.get("validation", Counts())
        raise BadInput(
            "spec.problems.validation",
            f"{have:,} problems{dropped_words(counts) if counts.rows else ''}",
            f"The search needs {needed:,}, {_NEEDED}: give a source with more, a higher limit, or {_FEWER}.",
        )

    def _say(self, split: str, counts: Counts) -> None:
        for reason, said in counts.examples:
            _log.info("%s: no final answer (%s), %s", split, WORDS[reason], said)
        for remark, rows in counts.remarks.items():
            _log.warning("%s: in %d rows %s", split, rows, remark)
        if counts.other_answers:
            _log.warning("%s: %d duplicates have another answer than the problem kept", split, counts.other_answers)
        _log.info("%s: %d problems kept%s", split, counts.rows - counts.dropped, dropped_words(counts))
        self.ctx.progress.update(counts.rows, counts.rows, f"{split} rows", dropped=counts.dropped)

    def _readable(self, gold: str) -> bool:
        return self.verifier.parse_gold(gold) is not None

    def _raw(self, split: ReadSplit, source: SourceParams) -> Reading:
        role = f"source_{split}"
        if not self.ctx.has(role):
            return read_source(source, None, split)
        given = self._given(split)
        uri = self.ctx.stage.externals[role].uri
        if uri.startswith("hf://"):
            return read_source(source, Path(uri), split, hub_rows(uri), given)
        return read_source(source, self.ctx.external_path(role), split, given=given)

    def _given(self, split: ReadSplit) -> ReadSplit:
        """The field of the spec that describes a split: a test split that is not given separately, or is given in the
        same way, is read like the training problems."""
        test, train = self.params.test, self.params.train
        alike = test is not None and test.model_copy(update={"limit": train.limit}) == train
        return "train" if split == "test" and alike else split

    def _judge_solutions(self, problems: Sequence[Problem]) -> _Judged:
        """Judge the teacher's training solutions: only correct ones are used for training.

        If a problem has several rows, the first correct solution is taken.
        """
        found = _Judged(list(problems))
        left = [i for i, p in enumerate(problems) if p.split == "train" and p.solution]
        found.without_solution = sum(p.split == "train" and not p.solution for p in problems)
        total, done, attempt = len(left), 0, 0
        while left:
            tried = [(i, _solution(problems[i], attempt)) for i in left]
            items = ((solution, problems[i].gold) for i, solution in tried)
            again = []
            for (i, solution), judgement in zip(tried, self.verifier.judge(items), strict=True):
                further = attempt < len(problems[i].further_solutions)
                if judgement.verdict is Verdict.CORRECT or attempt == 0:
                    found.verdicts[i] = judgement.verdict
                    found.problems[i] = replace(problems[i], solution=solution)
                    found.from_later_rows += attempt > 0
                if judgement.verdict is not Verdict.CORRECT and further:
                    again.append(i)
                    continue
                done += 1
                if done % 256 == 0 or done == total:
                    self.ctx.progress.update(done, total, "solutions", without_solution=found.without_solution)
            left, attempt = again, attempt + 1
        for i, verdict in found.verdicts.items():
            found.counts[verdict] += 1
            problem = found.problems[i]
            if verdict is not Verdict.CORRECT and verdict not in found.examples:
                end = excerpt((problem.solution or "")[-80:])
                found.examples[verdict] = f"answer {excerpt(problem.gold, 40)}, solution ends in {end}"
        return found

    def _table(self, judged: _Judged) -> pa.Table:
        import pyarrow as pa

        problems = judged.problems
        columns = {
            "problem_id": [p.problem_id for p in problems],
            "split": [p.split for p in problems],
            "question": [p.question for p in problems],
            "gold": [p.gold for p in problems],
            "solution": [p.solution for p in problems],
            "solution_verdict": [judged.verdicts.get(i) for i in range(len(problems))],
            "source": [(getattr(self.params, p.split) or self.params.train).format for p in problems],
        }
        return pa.table(columns, schema=PROBLEMS)

    def _summary(self, found: Ingest, judged: _Judged) -> Summary:
        """Counts of what was kept, dropped or odd; plain numbers are shown in the run's line for this stage."""
        return {
            "rows_dropped": sum(counts.dropped for counts in found.counts.values()) + found.left_out_of_training,
            "problems": dict(Counter(p.split for p in judged.problems)),
            "rows": found.by_split("rows"),
            "no_question": found.by_split("no_question"),
            "duplicates": found.by_split("duplicates"),
            "duplicates_with_another_answer": found.by_split("other_answers"),
            "bad_gold": found.by_split("bad_gold"),
            "bad_gold_reasons": {
                split: {WORDS[reason]: count for reason, count in counts.bad_gold.most_common()}
                for split, counts in found.counts.items()
                if counts.bad_gold
            },
            "bad_gold_examples": examples(found),
            "remarks": {split: dict(counts.remarks) for split, counts in found.counts.items() if counts.remarks},
            "test_problems_in_training": found.held_out_in_training,
            "left_out_of_training": found.left_out_of_training,
            "without_solution": judged.without_solution,
            "solutions_from_later_rows": judged.from_later_rows,
            "teacher_solutions": dict(judged.counts),
        }


@dataclass
class _Judged:
    """Problems, and the verdicts on the training problems' solutions."""

    problems: list[Problem]
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """Position in ``problems`` -> verdict."""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Verdict other than correct -> an example."""
    without_solution: int = 0
    from_later_rows: int = 0


def _solution(problem: Problem, attempt: int) -> str:
    return (problem.solution or "") if attempt == 0 else problem.further_solutions[attempt - 1]
