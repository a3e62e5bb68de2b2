"""The stage ``dpo``: trains the policy to prefer the chosen side of each pair. The starting policy is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from misstep.plan.params import DpoParams
from misstep.stages.context import StageContext, Work
from misstep.training.stage import TrainingWork, limit_of, prompts_of

if TYPE_CHECKING:
    from misstep.training.export import InitialModel
    from misstep.training.run import Run
    from misstep.training.selection import Question


def open_work(ctx: StageContext) -> Work:
    """Open a ``dpo`` stage (inputs ``pairs``, ``policy``, ``problems``): one block."""
    return _Dpo(ctx)


class _Dpo(TrainingWork):
    starts_from = "policy"

    def __init__(self, ctx: StageContext) -> None:
        super().__init__(ctx)
        assert isinstance(ctx.params, DpoParams)
        self._params = ctx.params

    def prepare(self, start: InitialModel) -> Run:
        from misstep.training.arguments import dpo_arguments
        from misstep.training.data import stored_pairs
        from misstep.training.dropped import check_dropped
        from misstep.training.rows import pair_rows
        from misstep.training.run import Run
        from misstep.training.trainers import DpoOnRows

        params = self._params
        self.check_made_with(start, "pairs")
        limit = limit_of(start, params.optimiser)
        rows = pair_rows(stored_pairs(self._ctx), limit.tokens)
        check_dropped(rows, limit)
        return Run(
            rows=rows,
            optimiser=params.optimiser,
            selection=params.selection,
            questions=self._questions(start),
            trainer=DpoOnRows,
            arguments=partial(dpo_arguments, params),
            nothing="no pairs",
        )

    def _questions(self, start: InitialModel) -> Sequence[Question]:
        if self._params.selection is None:
            return ()
        from misstep.training.data import questions

        builder, _ = prompts_of(start, self._params.prompt)
        return questions(self._ctx.read("problems", "problems"), self._params.selection.problems, builder)
