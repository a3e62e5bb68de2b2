"""The ``credit`` stage: finds where wrong responses went wrong, by rollouts of the policy that wrote them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from misstep.artifacts.output import Output
from misstep.credit.rows import RowsByProblem, Verdicts, gold_answers
from misstep.credit.selection import CreditProblem, Negative, ProblemTally, spread
from misstep.credit.tables import credit_counts, credit_tables
from misstep.errors import BadInput, MisstepError
from misstep.generation.engine import Usage
from misstep.generation.fingerprint import check_tokenizer, passed_on
from misstep.plan.params import CreditParams
from misstep.stages.context import StageContext, Work

if TYPE_CHECKING:
    from misstep.credit.scheduler import Scheduler


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
                "raise rollouts or lower best_of.",
            )
        columns = ["sample", "prompt_ids", "token_ids", "text"]
        self._samples = RowsByProblem(ctx, "samples", "samples", columns)
        self._gold = gold_answers(ctx)
        self._tallies = self._tally()
        self._chosen = self._choose()
        self._scheduler: Scheduler | None = None
        self._to_close: list[Any] = []

    def blocks(self) -> int:
        return max(1, -(-len(self._samples.problems) // self._ctx.stage.block_rows))

    def run(self, block: int) -> Output:
        from misstep.credit.block import CreditedBlock

        problems = list(self._problems(block))
        scheduler = self._open_scheduler() if problems else None
        before = scheduler.usage if scheduler else Usage()
        credited = scheduler.credit(problems) if scheduler else CreditedBlock([], [])
        skipped = sum((self._tallies[i].skipped for i in self._block_ids(block)), Counter[str]())
        summary = {
            "outcome": self._outcome(),
            "estimator": self._params.estimator,
            "problems": len(self._block_ids(block)),
            "problems_with_negatives": len(problems),
            **credit_counts(credited),
            **(scheduler.usage if scheduler else before).since(before),
            "not_chosen": dict(sorted(skipped.items())),
            **passed_on(self._ctx.manifest_summary("samples")),
        }
        return Output(tables=credit_tables(credited), summary=summary)

    def close(self) -> None:
        for resource in self._to_close:
            resource.close()

    def _tally(self) -> dict[str, ProblemTally]:
        verdicts = Verdicts(self._ctx)
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
                verdict = verdicts.of(problem, sample)
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
        ids = [problem for problem in self._block_ids(block) if self._chosen[problem]]
        for problem, rows in self._samples.of(ids).items():
            by_sample = {row["sample"]: row for row in rows}
            yield CreditProblem(
                problem_id=problem,
                gold=self._gold[problem],
                prompt_ids=tuple(rows[0]["prompt_ids"]),
                samples=self._tallies[problem].other_samples(),
                negatives=tuple(
                    Negative(sample, tuple(by_sample[sample]["token_ids"]), by_sample[sample]["text"])
                    for sample in self._chosen[problem]
                ),
            )

    def _open_scheduler(self) -> Scheduler:
        if self._scheduler is None:
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

            self._scheduler = Scheduler(self._params, engine, verifier.judge, report)
        return self._scheduler
