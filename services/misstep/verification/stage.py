"""The ``verify`` stage: gives each sample a verdict, part by part."""

from __future__ import annotations

from collections import Counter

from misstep import telemetry
from misstep.artifacts.output import Output
from misstep.artifacts.records import VERDICTS
from misstep.plan.params import VerifyParams
from misstep.stages.context import StageContext, Work
from misstep.terms.verdict import Judgement, Verdict
from misstep.verification.verifier import AnswerFormat, Verifier

CUT_OFF = Judgement(Verdict.UNPARSABLE, None, "cut-off")
"""A response that was cut off at the token limit has no answer: it is neither a positive nor a negative."""

REPORT_EVERY = 512


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: one block for each part of the samples."""
    return _Verify(ctx)


class _Verify:
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, VerifyParams)
        self.ctx, self.params = ctx, ctx.params
        self.verifier = Verifier(
            AnswerFormat(self.params.answer_format),
            workers=ctx.threads,
            timeout_seconds=self.params.timeout_seconds,
        )
        table = ctx.read("problems", "problems", ["problem_id", "gold"])
        self.gold = dict(zip(table["problem_id"].to_pylist(), table["gold"].to_pylist(), strict=True))
        self.total = ctx.rows_in("samples", "samples")
        self.done = 0

    def blocks(self) -> int:
        return self.ctx.parts_in("samples", "samples")

    def close(self) -> None:
        self.verifier.close()

    def run(self, block: int) -> Output:
        import pyarrow as pa

        columns = ["problem_id", "sample", "text", "finish_reason"]
        batches = self.ctx.batches("samples", "samples", columns, part=block)
        samples = pa.Table.from_batches(batches)
        ids = samples["problem_id"].to_pylist()
        finished = [reason == "stop" for reason in samples["finish_reason"].to_pylist()]
        texts = samples["text"].to_pylist()
        todo = ((text, self.gold[i]) for text, i, done in zip(texts, ids, finished, strict=True) if done)
        judged = self.verifier.judge(todo)
        judgements: list[Judgement] = []
        counted = 0
        for complete in finished:
            judgements.append(next(judged) if complete else CUT_OFF)
            self.done += 1
            if self.done % REPORT_EVERY == 0 or len(judgements) == len(finished):
                telemetry.count_verdicts(judgement.verdict for judgement in judgements[counted:])
                counted = len(judgements)
                self.ctx.progress.update(self.done, self.total, "samples")
        verdicts = [j.verdict.value for j in judgements]
        table = pa.table(
            {
                "problem_id": ids,
                "sample": samples["sample"],
                "verdict": verdicts,
                "extracted": [j.extracted for j in judgements],
                "rule": [j.rule for j in judgements],
                "verifier": [self.params.verifier] * len(ids),
            },
            schema=VERDICTS,
        )
        summary = {"samples": len(ids), "verdicts": dict(Counter(verdicts)), "cut_off": finished.count(False)}
        return Output(tables={"verdicts": table}, summary=summary)
