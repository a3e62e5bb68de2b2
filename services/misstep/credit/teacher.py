"""The teacher's solutions as chosen sides of pairs (layout ``teacher``)."""

from __future__ import annotations

from pathlib import Path

from misstep.credit.layouts import Answer
from misstep.generation.fingerprint import check_tokenizer
from misstep.generation.prompts import PromptBuilder
from misstep.generation.tokenizers import load_tokenizer
from misstep.plan.params import PromptParams
from misstep.stages.context import StageContext
from misstep.terms.verdict import Verdict


class TeacherSolutions:
    """The correct solutions of the input ``problems``, as the token ids that SFT trains on.

    Args:
        folder: the policy's folder, whose tokenizer made the ids of the samples.
        prompt: how the policy is asked.

    Raises:
        BadInput: another tokenizer made the samples.
    """

    def __init__(self, ctx: StageContext, folder: Path, prompt: PromptParams) -> None:
        from misstep.generation.ends import end_ids
        from misstep.generation.loading import load_generation_config

        tokenizer = load_tokenizer(folder)
        check_tokenizer(tokenizer, "samples", ctx.manifest_summary("samples"))
        self._builder = PromptBuilder(tokenizer, prompt, end_ids(tokenizer, load_generation_config(folder)))
        columns = ["problem_id", "solution", "solution_verdict"]
        table = ctx.read("problems", "problems", columns)
        rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
        self._texts = {problem: text for problem, text, verdict in rows if text and verdict == Verdict.CORRECT}

    def of(self, problem_id: str) -> Answer | None:
        """Return a problem's solution; None if it has no correct one."""
        text = self._texts.get(problem_id)
        return None if text is None else Answer(tuple(self._builder.response_ids(text)), text, "teacher")
