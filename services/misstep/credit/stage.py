"""The ``credit`` stage: finds where wrong responses went wrong, by rollouts of the policy that wrote them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from misstep.artifacts.output import Output
from misstep.credit.audit import audit_counts, audited, scans_for, to_audit
from misstep.credit.controls import true_pit
from misstep.credit.evidence import Known
from misstep.credit.passes import Pass
from misstep.credit.rows import Row, RowsByProblem, Verdicts, gold_answers, questions
from misstep.credit.selection import CreditProblem, ProblemTally, SampledResponse, spread
from misstep.credit.tables import (
    audit_table,
    credit_counts,
    credit_tables,
    error_counts,
    positive_counts,
    positive_tables,
)
from misstep.errors import BadInput, MisstepError
from misstep.generation.engine import Usage
from misstep.generation.fingerprint import check_tokenizer, passed_on
from misstep.plan.params import CreditParams
from misstep.problems.oracles import ORACLES
from misstep.stages.context import StageContext, Work
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    from misstep.credit.block import CreditedBlock
    from misstep.credit.scheduler import OpenBlock, Scheduler


def open_work(ctx: StageContext) -> Work:
    """Open the credit stage (inputs ``problems``, ``samples``, ``verdicts``, ``policy``).

    Raises:
        BadInput: fewer rollouts than the prover's K.
        MisstepError: samples, verdicts and problems do not match.
    """
    return _Credit(ctx)


class _Credit:
    """A block is a fixed number of problems of the samples, in order. The model is loaded only if there is a
    negative."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, CreditParams)
        self._ctx = ctx
        self._params = params = ctx.params
        if params.rollouts < params.best_of:
            raise BadInput(
                "spec.credit.rollouts",
                params.rollouts,
                f"Best-of-{params.best_of} needs at least {params.best_of} rollouts per prefix; "
                "raise rollouts or lower bestOf.",
            )
        columns = ["sample", "prompt_ids", "token_ids", "text", "finish_reason"]
        self._samples = RowsByProblem(ctx, "samples", "samples", columns)
        self._gold = gold_answers(ctx)
        self._verdicts = Verdicts(ctx)
        self._tallies = self._tally()
        self._chosen = self._choose()
        self._right = {i: t.positives(params.positives_per_problem) for i, t in self._tallies.items()}
        self._scheduler: Scheduler | None = None
        self._to_close: list[Any] = []
        self._upcoming: int | None = None
        self._open: dict[int, list[OpenBlock]] = {}
        """Blocks whose rollouts have begun: for each its passes, as `_begin` returns them."""
        self._oracle = ORACLES[params.oracle] if params.oracle else None
        self._questions = questions(ctx) if self._oracle else {}

    def blocks(self) -> int:
        return max(1, -(-len(self._samples.problems) // self._ctx.stage.block_rows))

    def expect(self, block: int | None) -> None:
        """Announce the block after the one that runs next, if any."""
        self._upcoming = block

    def run(self, block: int) -> Output:
        from misstep.credit.block import CreditedBlock

        self._drop_all_but(block)
        ids = self._block_ids(block)
        scheduler = self._open_scheduler() if any(self._chosen[i] or self._right[i] for i in ids) else None
        before = scheduler.usage if scheduler else Usage()
        negatives, positives, scans = CreditedBlock([], []), CreditedBlock([], []), list[CreditedBlock]()
        if scheduler:
            passes = self._open.pop(block, None) or self._begin(scheduler, block)
            negatives, positives, *scans = scheduler.finish(passes, self._when_idle(scheduler, block))
        audits = audited(negatives, scans) if scans else []
        errors = self._true_pits(negatives)
        skipped = sum((self._tallies[i].skipped for i in ids), Counter[str]())
        summary = {
            "outcome": self._outcome(),
            "estimator": self._params.estimator,
            "problems": len(ids),
            "problems_with_negatives": sum(bool(self._chosen[i]) for i in ids),
            **credit_counts(negatives),
            "positives": positive_counts(positives),
            "audit": audit_counts(audits, scans),
            "true_errors": error_counts(negatives, errors),
            **(scheduler.usage if scheduler else before).since(before),
            "not_chosen": dict(sorted(skipped.items())),
            **passed_on(self._ctx.manifest_summary("samples")),
        }
        tables = credit_tables(negatives, errors)
        if self._params.positives_per_problem:
            tables |= positive_tables(positives)
        if self._params.audit_percent:
            tables |= audit_table(audits)
        return Output(tables=tables, summary=summary)

    def _begin(self, scheduler: Scheduler, block: int) -> list[OpenBlock]:
        """Queue the first rollouts of a block's negatives, of its positives, and of the audit's scans; return these
        passes in this order."""
        problems = list(self._problems(block))
        wrong = [problem for problem in problems if problem.negatives]
        right = [problem for problem in problems if problem.positives]
        passes = [scheduler.begin(wrong), scheduler.begin(right, Pass("full-scan", "positives", correct=True))]
        chosen = to_audit(wrong, self._params)
        if chosen:
            passes += [scheduler.begin(chosen, scan) for scan in scans_for(self._params.estimator)]
        return passes

    def _drop_all_but(self, block: int) -> None:
        """Stop the blocks that began here, and that another process has finished meanwhile."""
        for other in [number for number in self._open if number not in (block, self._upcoming)]:
            for begun in self._open.pop(other):
                begun.dropped = True

    def _when_idle(self, scheduler: Scheduler, block: int) -> Callable[[], None] | None:
        """Return what begins the upcoming block with the last rollouts of this one, if the engine may do that."""
        upcoming = self._upcoming
        if upcoming is None or upcoming == block or not scheduler.overlaps:
            return None

        def begin() -> None:
            if upcoming not in self._open:
                self._open[upcoming] = self._begin(scheduler, upcoming)

        return begin

    def _true_pits(self, credited: CreditedBlock) -> list[int | None]:
        """Return the true first wrong step of each negative, if the task knows it."""
        if self._oracle is None:
            return [None] * len(credited.negatives)
        return [
            true_pit(self._oracle, self._questions[found.problem_id], found.text, found.steps.texts)
            for found in credited.negatives
        ]

    def close(self) -> None:
        for resource in self._to_close:
            resource.close()

    def _tally(self) -> dict[str, ProblemTally]:
        tallies = {problem: ProblemTally() for problem in self._samples.problems}
        room = self._params.decoding.max_new_tokens
        columns = ["problem_id", "sample", "token_ids", "finish_reason"]
        for batch in self._ctx.batches("samples", "samples", columns):
            ids = batch.column("token_ids")
            tokens = ids.flatten().to_numpy()
            ends = ids.value_lengths().to_numpy().cumsum()
            names = (batch.column(name).to_pylist() for name in ("problem_id", "sample", "finish_reason"))
            begin = 0
            for problem, sample, reason, end in zip(*names, ends, strict=True):
                if problem not in self._gold:
                    raise MisstepError(f"sampled problem {problem!r} is not among the problems of this stage")
                digest = hashlib.blake2b(tokens[begin:end].tobytes(), digest_size=16).digest()
                verdict = self._verdicts.of(problem, sample)
                tallies[problem].add(sample, verdict, reason, digest, room=end - begin <= room)
                begin = end
        return tallies

    def _choose(self) -> dict[str, list[int]]:
        """Choose the samples to credit, problem by problem. ``max_negatives`` limits the cost, so it counts only
        negatives that may cost something: those of problems that a sample solved."""
        each = {i: t.negatives(self._params.negatives_per_problem) for i, t in self._tallies.items()}
        costly = {i: len(chosen) for i, chosen in each.items() if self._costs(i)}
        granted = spread(costly, self._params.max_negatives, self._params.seed)
        return {i: chosen[: granted.get(i, 0)] if i in costly else chosen for i, chosen in each.items()}

    def _costs(self, problem: str) -> bool:
        known = self._tallies[problem].other_samples()
        return known.correct > 0 or known.rollouts < self._params.best_of

    def _outcome(self) -> str:
        """Return why the whole stage can find no pit, if so; equal in all blocks."""
        if not any(self._chosen.values()):
            return "no negatives: no sample is a wrong answer that ended by itself"
        if not any(chosen and self._costs(i) for i, chosen in self._chosen.items()):
            return "no pits: the policy solved none of the problems that it has negatives of"
        return "credited"

    def _block_ids(self, block: int) -> list[str]:
        size = self._ctx.stage.block_rows
        return self._samples.problems[block * size : (block + 1) * size]

    def _problems(self, block: int) -> Iterator[CreditProblem]:
        ids = [problem for problem in self._block_ids(block) if self._chosen[problem] or self._right[problem]]
        for problem, rows in self._samples.of(ids).items():
            by_sample = {row["sample"]: row for row in rows}
            yield CreditProblem(
                problem_id=problem,
                gold=self._gold[problem],
                prompt_ids=tuple(rows[0]["prompt_ids"]),
                samples=self._tallies[problem].other_samples(),
                negatives=_responses(by_sample, self._chosen[problem]),
                positives=_responses(by_sample, self._right[problem]),
                samples_for_positives=self._tallies[problem].other_samples(correct=True),
                known=tuple(
                    (row["sample"], Known(tuple(row["token_ids"]), self._solved(problem, row))) for row in rows
                ),
            )

    def _solved(self, problem: str, row: Row) -> bool:
        return row["finish_reason"] == "stop" and self._verdicts.of(problem, row["sample"]) is Verdict.CORRECT

    def _open_scheduler(self) -> Scheduler:
        if self._scheduler is None:
            from misstep.credit.posterior import SolvedRates
            from misstep.credit.scheduler import Scheduler
            from misstep.generation.engines import open_engine
            from misstep.verification.extract import AnswerFormat
            from misstep.verification.verifier import Verifier

            verifier = Verifier(
                AnswerFormat(self._params.answer_format),
                workers=self._ctx.threads,
                timeout_seconds=self._params.timeout_seconds,
            )
            self._to_close.append(verifier)
            engine = open_engine(self._ctx.model_folder("policy"), self._params.decoding, self._ctx.stage.resources)
            self._to_close.append(engine)
            check_tokenizer(engine.tokenizer, "samples", self._ctx.manifest_summary("samples"))

            def report(done: int, most: int) -> None:
                self._ctx.progress.update(done, most, "rollouts")

            rates = SolvedRates.fitted(self._tallies[i].other_samples() for i, chosen in self._chosen.items() if chosen)
            self._scheduler = Scheduler(self._params, engine, verifier.judge, report, rates)
        return self._scheduler


def _responses(rows: Mapping[int, Row], samples: Sequence[int]) -> tuple[SampledResponse, ...]:
    return tuple(SampledResponse(n, tuple(rows[n]["token_ids"]), rows[n]["text"]) for n in samples)
