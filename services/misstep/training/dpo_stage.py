"""The stage ``dpo``: the policy, taught to prefer the chosen side of each pair; it is its own reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from misstep.artifacts.output import Output
from misstep.plan.params import DpoParams
from misstep.stages.context import StageContext, Work

if TYPE_CHECKING:
    from misstep.training.export import Start
    from misstep.training.selection import Question


def open_work(ctx: StageContext) -> Work:
    """Open a ``dpo`` stage (inputs ``pairs``, ``policy``, ``problems``): one block."""
    return _Dpo(ctx)


class _Dpo:
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, DpoParams)
        self._ctx, self._params = ctx, ctx.params

    def blocks(self) -> int:
        return 1

    def close(self) -> None:
        """Release nothing: a run closes what it opens."""

    def run(self, block: int) -> Output:
        from misstep.generation.fingerprint import check_tokenizer
        from misstep.generation.loading import context_length_of
        from misstep.training.arguments import dpo_arguments
        from misstep.training.data import pair_ids
        from misstep.training.dropped import Limit, check_dropped
        from misstep.training.export import Start
        from misstep.training.rows import pair_rows
        from misstep.training.run import Run, train
        from misstep.training.trainers import DpoOnRows

        params = self._params
        start = Start.load(self._ctx.model_folder("policy"))
        check_tokenizer(start.tokenizer, "pairs", self._ctx.manifest_summary("pairs"))
        limit = Limit(params.optimiser.max_length, context_length_of(start.config, start.tokenizer))
        rows = pair_rows(pair_ids(self._ctx), limit.tokens)
        check_dropped(rows, limit)
        run = Run(
            rows=rows,
            optimiser=params.optimiser,
            selection=params.selection,
            questions=self._questions(start),
            trainer=DpoOnRows,
            arguments=partial(dpo_arguments, params),
            nothing="no pairs",
        )
        return train(self._ctx, start, run)

    def _questions(self, start: Start) -> Sequence[Question]:
        if self._params.selection is None:
            return ()
        from misstep.generation.ends import end_ids
        from misstep.generation.prompts import PromptBuilder
        from misstep.training.data import questions

        problems = self._ctx.read("problems", "problems")
        ends = end_ids(start.tokenizer, start.generation_config)
        builder = PromptBuilder(start.tokenizer, self._params.prompt, ends)
        return questions(problems, self._params.selection.problems, builder)
