"""The ``sample`` stage: a policy answers each problem several times."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from misstep.artifacts.output import Output
from misstep.artifacts.records import SAMPLES
from misstep.errors import BadInput
from misstep.generation.engine import Completion, Engine, Request
from misstep.generation.engines import open_engine
from misstep.generation.fingerprint import TOKENIZER, fingerprint
from misstep.generation.prompts import PromptBuilder, check_taught_end
from misstep.generation.seeds import sample_seed, train_subset
from misstep.plan.params import SampleParams
from misstep.plan.presets import prompt_record
from misstep.stages.context import StageContext, Work
from misstep.stages.overtrained import measured, policy_name, warning

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: blocks of ``block_rows`` problems."""
    return _Sample(ctx)


class _Sample:
    """Samples of one split, in the order of its problems (for training, in the order of the subset's permutation).

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
        self._upcoming: int | None = None
        self._prompts: dict[int, dict[str, list[int]]] = {}
        """For each queued block: problem -> prompt."""
        self._found: dict[int, dict[str, tuple[Completion, ...]]] = {}

    def blocks(self) -> int:
        return -(-len(self.problems) // self.rows)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def role(self) -> str:
        """The role of the sampled model: the policy, or a model under test."""
        return "policy" if self.ctx.has("policy") else "model"

    @property
    def engine(self) -> Engine:
        """Loaded with the first block that actually runs."""
        if self._engine is None:
            self._engine = open_engine(self.ctx.model_folder(self.role), self.params.decoding, self.ctx.stage.resources)
        return self._engine

    def expect(self, block: int | None) -> None:
        """Announce the block after the one that runs next, if any."""
        self._upcoming = block

    @cached_property
    def builder(self) -> PromptBuilder:
        engine = self.engine
        builder = PromptBuilder(engine.tokenizer, self.params.prompt, engine.end_ids)
        check_taught_end(builder, engine.end_ids)
        return builder

    @cached_property
    def warning(self) -> dict[str, str]:
        """The progress note about a policy that has memorised its training problems; the log has the full warning."""
        known = measured(self.ctx.manifest_summary("policy")) if self.role == "policy" and self.params.subset else None
        if known is None or not known.by_heart:
            return {}
        assert self.params.subset is not None
        who = policy_name(self.params.subset.size, self.params.subset.seed)
        _log.warning("%s", warning(who, known))
        return {"warning": known.short}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.engine.tokenizer)

    def run(self, block: int) -> Output:
        engine, before = self.engine, self.engine.usage
        if block not in self._prompts:
            self._submit(block)
        prompts = self._prompts[block]
        found = self._results(block)
        completions = [c for problem in prompts for c in found[problem]]
        problems = self._problems(block)
        summary = {
            "problems": len(problems),
            "samples": len(completions),
            "generated_tokens": sum(len(c.token_ids) for c in completions),
            "prompt_tokens": sum(map(len, prompts.values())),
            **engine.usage.since(before),
            "finish": {reason: sum(c.finish_reason == reason for c in completions) for reason in ("stop", "length")},
            "too_long": len(problems) - len(prompts),
            "prompt": prompt_record(self.params.prompt),
            TOKENIZER: self.fingerprint,
        }
        return Output(tables={"samples": _table(self._prompts.pop(block), self._found.pop(block))}, summary=summary)

    def _problems(self, block: int) -> Sequence[tuple[str, str]]:
        return self.problems[block * self.rows : (block + 1) * self.rows]

    def _submit(self, block: int) -> None:
        """Queue a block's requests."""
        params, engine = self.params, self.engine
        fitting = self._fitting(self._problems(block))
        if not fitting and not self._fitting(self.problems):
            raise BadInput(
                "spec.policy.prompt",
                f"every prompt is longer than the model's context of {engine.context_length} tokens",
                "Use fewer examples, a shorter template, or a model with a longer context.",
            )
        self._prompts[block], self._found[block] = fitting, {}
        for problem_id, ids in fitting.items():
            seeds = [sample_seed(params.seed, params.split, problem_id, i) for i in range(params.samples)]
            engine.submit(Request((block, problem_id), ids, seeds))

    def _fitting(self, problems: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
        """Return the prompts that leave room for a response, by problem."""
        prompts = ((problem_id, self.builder.prompt_ids(question)) for problem_id, question in problems)
        return {problem_id: ids for problem_id, ids in prompts if len(ids) < self.engine.context_length}

    def _results(self, block: int) -> dict[str, tuple[Completion, ...]]:
        """Read the engine's results until the block is complete; results of the upcoming block are kept for it."""
        wanted, found = len(self._prompts[block]), self._found[block]
        start, tokens = time.monotonic(), 0
        before, total = block * self.rows * self.params.samples, len(self.problems) * self.params.samples
        self._fill(block)
        if len(found) == wanted:
            return found
        for request, completions in self.engine.results():
            its_block, problem_id = request.request_id
            self._found[its_block][problem_id] = completions
            tokens += sum(len(c.token_ids) for c in completions)
            rate = tokens / max(time.monotonic() - start, 1e-3)
            done = before + len(found) * self.params.samples
            self.ctx.progress.update(done, total, "samples", tokens_per_second=round(rate), **self.warning)
            if len(found) == wanted:
                break
            self._fill(block)
        assert len(found) == wanted, "the engine answered every request"
        return found

    def _fill(self, block: int) -> None:
        """Queue the upcoming block once this one no longer fills the engine's batch."""
        upcoming, left = self._upcoming, len(self._prompts[block]) - len(self._found[block])
        if upcoming is None or upcoming == block or not self.engine.overlaps:
            return
        if left * self.params.samples <= self.ctx.stage.resources.batch_rows and upcoming not in self._prompts:
            self._submit(upcoming)


def _chosen(problems: pa.Table, params: SampleParams) -> pa.Table:
    import pyarrow.compute as pc

    if params.split == "train":
        assert params.subset is not None
        return train_subset(problems, params.subset)
    return problems.filter(pc.equal(problems["split"], params.split)).slice(params.skip, params.limit)


def _table(prompts: dict[str, list[int]], found: dict[str, tuple[Completion, ...]]) -> pa.Table:
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
