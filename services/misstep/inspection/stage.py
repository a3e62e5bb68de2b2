"""The stage ``inspect``: checks the policy, or a teacher that runs here, before any stage that uses a GPU."""

from __future__ import annotations

from misstep.artifacts.output import Output
from misstep.inspection.model import POLICY, inspect_model
from misstep.inspection.page import page
from misstep.plan.params import InspectParams
from misstep.stages.context import OneBlock, StageContext, Work
from misstep.terms.verdict import Verdict

_TEACHER = "spec.teacher.model.model"


def open_work(ctx: StageContext) -> Work:
    """Open an ``inspect`` stage (external ``model``; for the policy also input ``problems``): one block."""
    return _Inspect(ctx)


class _Inspect(OneBlock):
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, InspectParams)
        self._ctx, self._params = ctx, ctx.params

    def run(self, block: int) -> Output:
        ctx = self._ctx
        problems = self._problems() if ctx.has("problems") else []
        ctx.progress.update(0, 1, "models")
        report = inspect_model(
            ctx.model_folder("model"),
            self._params.prompt,
            problems,
            POLICY if self._params.prompt else _TEACHER,
            shown_as=ctx.stage.externals["model"].digest,  # its location differs between machines
        )
        ctx.progress.update(1, 1, "models")
        file = ctx.scratch / "page.txt"
        file.write_text(page(report), encoding="utf-8")
        return Output(files={"page.txt": file}, summary={"model": report.as_json()})

    def _problems(self) -> list[tuple[str, str]]:
        """Questions and correct solutions of the training problems, which training uses."""
        table = self._ctx.read("problems", "problems", ["split", "question", "solution", "solution_verdict"])
        columns = (table[name].to_pylist() for name in ("split", "question", "solution", "solution_verdict"))
        return [
            (question, solution)
            for split, question, solution, verdict in zip(*columns, strict=True)
            if split == "train" and verdict == Verdict.CORRECT
        ]
