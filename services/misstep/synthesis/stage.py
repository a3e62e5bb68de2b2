"""The ``synthesize`` stage: a teacher writes problems and solutions, block by block of seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from misstep.artifacts.output import Output
from misstep.artifacts.records import DRAFTS
from misstep.errors import BadInput
from misstep.plan.params import SynthesizeParams
from misstep.stages.context import StageContext, Work
from misstep.store.open import open_store
from misstep.synthesis.budget import Share, Usage
from misstep.synthesis.drafts import Author, Draft, Seed
from misstep.synthesis.monitor import TeacherMonitor
from misstep.synthesis.teacher import Teacher
from misstep.verification.verifier import AnswerFormat, Verifier

if TYPE_CHECKING:
    import pyarrow as pa


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: blocks of ``block_rows`` seeds."""
    return _Synthesize(ctx)


class _Synthesize:
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, SynthesizeParams)
        self.ctx, self.params = ctx, ctx.params
        self.seeds = _training_seeds(ctx.read("seeds", "problems", ["problem_id", "split", "question", "gold"]))
        self.rows = ctx.stage.block_rows
        self.verifier = Verifier(
            AnswerFormat(self.params.answer_format), workers=ctx.threads, timeout_seconds=self.params.timeout_seconds
        )
        self.monitor = TeacherMonitor("spec.teacher")
        self._teacher: Teacher | None = None
        self._block = 0

    def blocks(self) -> int:
        return -(-len(self.seeds) // self.rows)

    def close(self) -> None:
        if self._teacher is not None:
            self._teacher.close()
        self.verifier.close()

    @property
    def teacher(self) -> Teacher:
        """Opened with the first block that actually runs."""
        if self._teacher is None:
            self._teacher = self._open_endpoint() if self.params.endpoint_model else self._open_model()
        return self._teacher

    def run(self, block: int) -> Output:
        self._block = block
        seeds = self.seeds[block * self.rows : (block + 1) * self.rows]
        author = Author(self.params, self.verifier, self.monitor)
        work = self.teacher.work(author, seeds, Share(self.params.budget, len(seeds), len(self.seeds)))
        summary = {
            "seeds": len(seeds),
            "drafts": len(work.drafts),
            "kept": sum(draft.reason is None for draft in work.drafts),
            "rejected": dict(Counter(draft.reason for draft in work.drafts if draft.reason is not None)),
            "repaired": sum(draft.repaired for draft in work.drafts),
            "requests": {"asked": work.asked, "reused": work.reused, "failed": work.failed},
            "retries": work.retries,
            "prompt_tokens": work.usage.prompt,
            "generated_tokens": work.usage.generated,
            "tokens_estimated": work.estimated,
            "cost_millionths": self._cost(work.usage),
        }
        return Output(tables={"drafts": _table(work.drafts)}, summary=summary)

    def _cost(self, usage: Usage) -> int:
        """Money in millionths: integers of blocks are added up, fractions are not."""
        return round(usage.cost(self.params.budget) * 1_000_000)

    def _report(self, done: int, usage: Usage) -> None:
        detail: dict[str, float | str] = {"tokens": usage.tokens}
        if self.params.budget.price_input is not None:
            detail["cost"] = self._cost(usage) / 1_000_000
        self.ctx.progress.update(self._block * self.rows + done, len(self.seeds), "seeds", **detail)

    def _open_endpoint(self) -> Teacher:
        from misstep.synthesis.client import Client
        from misstep.synthesis.endpoint import EndpointTeacher
        from misstep.synthesis.journal import Journal

        stage, params = self.ctx.stage, self.params
        if stage.endpoint is None or params.endpoint_model is None:
            raise BadInput("frozen stage", "no endpoint", "Write it with the same version of Misstep as this one.")
        journal = Journal(open_store(stage.storage), params.endpoint_model, params.decoding)
        client = Client(stage.endpoint, params.endpoint_model, params.decoding, stage.shards, journal, self.monitor)
        return EndpointTeacher(client, self._report)

    def _open_model(self) -> Teacher:
        from misstep.generation.engines import open_engine
        from misstep.synthesis.local import LocalTeacher

        folder = self.ctx.model_folder("model_teacher")
        return LocalTeacher(
            open_engine(folder, self.params.decoding, self.ctx.stage.resources), self.params.seed, self._report
        )


def _training_seeds(problems: pa.Table) -> list[Seed]:
    rows = problems.to_pylist()
    return [Seed(row["problem_id"], row["question"], row["gold"]) for row in rows if row["split"] == "train"]


def _table(drafts: Sequence[Draft]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {field.name: [getattr(draft, field.name) for draft in drafts] for field in fields(Draft)}
    columns["kept"] = [draft.reason is None for draft in drafts]
    return pa.table({name: columns[name] for name in DRAFTS.names}, schema=DRAFTS)
