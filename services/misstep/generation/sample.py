"""The ``sample`` stage: a policy answers problems, several times each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from misstep.artifacts.records import SAMPLES
from misstep.errors import BadInput
from misstep.generation.engine import Completion, Engine, Request
from misstep.generation.engines import open_engine
from misstep.generation.fingerprint import TOKENIZER, fingerprint
from misstep.generation.presets import prompt_record
from misstep.generation.prompts import PromptBuilder
from misstep.generation.seeds import sample_seed
from misstep.generation.subset import train_subset
from misstep.plan.params import SampleParams
from misstep.stages.context import Output, StageContext, Work

if TYPE_CHECKING:
    import pyarrow as pa


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: blocks of ``block_rows`` problems."""
    return _Sample(ctx)


class _Sample:
    """Samples of one split, in the order of its problems (for training, that of the subset's permutation).

    A problem whose prompt leaves no room for a response has no samples; it is counted as ``too_long``.
    """

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, SampleParams)
        self.ctx, self.params = ctx, ctx.params
        problems = _chosen(ctx.read("problems", "problems"), self.params)
        self.problems: list[tuple[str, str]] = list(
            zip(problems["problem_id"].to_pylist(), problems["question"].to_pylist(), strict=True)
        )
        self.rows = ctx.stage.block_rows
        self._engine: Engine | None = None

    def blocks(self) -> int:
        return -(-len(self.problems) // self.rows)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def engine(self) -> Engine:
        """Loaded with the first block that is really run."""
        if self._engine is None:
            self._engine = open_engine(self.ctx.model_folder(), self.params.decoding, self.ctx.stage.resources)
        return self._engine

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.engine.tokenizer)

    def run(self, block: int) -> Output:
        params, engine = self.params, self.engine
        problems = self.problems[block * self.rows : (block + 1) * self.rows]
        fitting = self._fitting(problems)
        if not fitting and not self._fitting(self.problems):
            raise BadInput(
                "spec.policy.prompt",
                f"every prompt is longer than the model's context of {engine.context_length} tokens",
                "Use fewer examples, a shorter template, or a model with a longer context.",
            )
        for problem_id, ids in fitting.items():
            seeds = [sample_seed(params.seed, params.split, problem_id, i) for i in range(params.samples)]
            engine.submit(Request(problem_id, ids, seeds))
        found = self._results(len(fitting) * params.samples, block)
        completions = [c for i in fitting for c in found[i]]
        summary = {
            "problems": len(problems),
            "samples": len(completions),
            "generated_tokens": sum(len(c.token_ids) for c in completions),
            "prompt_tokens": sum(map(len, fitting.values())),
            "finish": {reason: sum(c.finish_reason == reason for c in completions) for reason in ("stop", "length")},
            "too_long": len(problems) - len(fitting),
            "prompt": prompt_record(params.prompt),
            TOKENIZER: self.fingerprint,
        }
        return Output(tables={"samples": _table(fitting, found)}, summary=summary)

    def _fitting(self, problems: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
        """Return the prompts that leave room for a response, by problem."""
        builder = PromptBuilder(self.engine.tokenizer, self.params.prompt)
        prompts = ((problem_id, builder.prompt_ids(question)) for problem_id, question in problems)
        return {problem_id: ids for problem_id, ids in prompts if len(ids) < self.engine.context_length}

    def _results(self, wanted: int, block: int) -> dict[Any, tuple[Completion, ...]]:
        found: dict[Any, tuple[Completion, ...]] = {}
        start, done, tokens = time.monotonic(), 0, 0
        before, total = block * self.rows * self.params.samples, len(self.problems) * self.params.samples
        for request, completions in self.engine.results():
            found[request.request_id] = completions
            done += len(completions)
            tokens += sum(len(c.token_ids) for c in completions)
            rate = tokens / max(time.monotonic() - start, 1e-3)
            self.ctx.progress.update(before + done, total, "samples", tokens_per_second=round(rate))
        assert done == wanted, "the engine answered every request"
        return found


def _chosen(problems: pa.Table, params: SampleParams) -> pa.Table:
    import pyarrow.compute as pc

    if params.split == "train":
        assert params.subset is not None
        return train_subset(problems, params.subset)
    return problems.filter(pc.equal(problems["split"], params.split)).slice(0, params.limit)


def _table(prompts: dict[str, list[int]], found: dict[Any, tuple[Completion, ...]]) -> pa.Table:
    import pyarrow as pa

    rows = [(i, number, c) for i in prompts for number, c in enumerate(found[i])]
    columns = {
        "problem_id": [i for i, _, _ in rows],
        "sample": [number for _, number, _ in rows],
        "prompt_ids": [prompts[i] for i, _, _ in rows],
        "token_ids": [c.token_ids for _, _, c in rows],
        "text": [c.text for _, _, c in rows],
        "finish_reason": [c.finish_reason for _, _, c in rows],
    }
    return pa.table(columns, schema=SAMPLES)
