"""The stages ``sft`` and ``rft``: the base model fine-tuned on solutions, the teacher's or the policy's own."""

from __future__ import annotations

from functools import partial

from misstep.artifacts.output import Output
from misstep.plan.params import RftParams, SftParams
from misstep.stages.context import StageContext, Work


def open_work(ctx: StageContext) -> Work:
    """Open an ``sft`` stage (input ``problems``; external ``model``) or an ``rft`` stage (also ``samples`` and
    ``verdicts``): one block."""
    return _Sft(ctx)


class _Sft:
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, SftParams)
        self._ctx, self._params = ctx, ctx.params

    def blocks(self) -> int:
        return 1

    def close(self) -> None:
        """Release nothing: a run closes what it opens."""

    def run(self, block: int) -> Output:
        from misstep.generation.ends import end_ids
        from misstep.generation.fingerprint import check_tokenizer
        from misstep.generation.loading import context_length_of
        from misstep.generation.prompts import PromptBuilder, check_taught_end
        from misstep.generation.subset import train_subset, without_correct_solution
        from misstep.training.arguments import sft_arguments
        from misstep.training.data import as_questions, own_examples, questions, teacher_examples
        from misstep.training.dropped import Limit, check_dropped, refuse_no_rows
        from misstep.training.export import Start
        from misstep.training.rows import sft_rows
        from misstep.training.run import Run, train
        from misstep.training.trainers import SftOnRows

        params = self._params
        positives = params.positives if isinstance(params, RftParams) else None
        problems = self._ctx.read("problems", "problems")
        start = Start.load(self._ctx.model_folder("model"))
        if positives:
            check_tokenizer(start.tokenizer, "samples", self._ctx.manifest_summary("samples"))
        ends = end_ids(start.tokenizer, start.generation_config)
        builder = PromptBuilder(start.tokenizer, params.prompt, ends)
        check_taught_end(builder, ends)
        from_teacher = positives is None or positives.with_teacher
        trained_on = train_subset(problems, params.subset)
        teacher = teacher_examples(trained_on, builder) if from_teacher else []
        own, left_out = own_examples(self._ctx, positives, builder, ends, teacher) if positives else ([], {})
        limit = Limit(params.optimiser.max_length, context_length_of(start.config, start.tokenizer))
        rows = sft_rows([*teacher, *own], ends, limit.tokens)
        check_dropped(rows, limit)
        if positives is None:
            refuse_no_rows(rows, limit, without_correct_solution(problems))
        run = Run(
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
        return train(self._ctx, start, run)
