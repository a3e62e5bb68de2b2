"""The stages ``sft`` and ``rft``: fine-tune the base model on solutions, of the teacher or of the policy itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from misstep.plan.params import RftParams, SftParams
from misstep.stages.context import StageContext, Work
from misstep.training.stage import TrainingWork, limit_of, prompts_of

if TYPE_CHECKING:
    from misstep.training.export import InitialModel
    from misstep.training.run import Run


def open_work(ctx: StageContext) -> Work:
    """Open an ``sft`` stage (input ``problems``; external ``model``) or an ``rft`` stage (also ``samples`` and
    ``verdicts``, and ``credit`` where it filters): one block."""
    return _Sft(ctx)


class _Sft(TrainingWork):
    starts_from = "model"

    def __init__(self, ctx: StageContext) -> None:
        super().__init__(ctx)
        assert isinstance(ctx.params, SftParams)
        self._params = ctx.params

    def prepare(self, start: InitialModel) -> Run:
        from misstep.generation.prompts import check_taught_end
        from misstep.generation.seeds import train_subset, without_correct_solution
        from misstep.training.arguments import sft_arguments
        from misstep.training.data import as_questions, own_examples, questions, teacher_examples
        from misstep.training.dropped import check_dropped, refuse_no_rows
        from misstep.training.rows import sft_rows
        from misstep.training.run import Run
        from misstep.training.trainers import SftOnRows

        params = self._params
        positives = params.positives if isinstance(params, RftParams) else None
        problems = self._ctx.read("problems", "problems")
        if positives:
            self.check_made_with(start, "samples")
        builder, ends = prompts_of(start, params.prompt)
        check_taught_end(builder, ends)
        from_teacher = positives is None or positives.with_teacher
        trained_on = train_subset(problems, params.subset)
        teacher = teacher_examples(trained_on, builder) if from_teacher else []
        own, left_out = own_examples(self._ctx, positives, builder, ends, teacher) if positives else ([], {})
        limit = limit_of(start, params.optimiser)
        rows = sft_rows([*teacher, *own], ends, limit.tokens)
        check_dropped(rows, limit)
        if positives is None:
            refuse_no_rows(rows, limit, without_correct_solution(problems))
        return Run(
            rows=rows,
            optimiser=params.optimiser,
            selection=params.scorings,
            questions=questions(problems, params.selection.problems, builder),
            policy=params.policy,
            own=as_questions(trained_on, params.selection.problems, builder) if params.policy else (),
            trainer=SftOnRows,
            arguments=partial(sft_arguments, params.optimiser),
            sources={"teacher": len(teacher), "own": len(own)},
            left_out=left_out,
            nothing="no positives",
        )
