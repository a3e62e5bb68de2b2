"""What the stages that train have in common: load the model, make rows of token ids, train on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from misstep.artifacts.output import Output
from misstep.stages.context import OneBlock, StageContext

if TYPE_CHECKING:
    from misstep.generation.prompts import PromptBuilder
    from misstep.plan.params import OptimiserParams, PromptParams
    from misstep.training.dropped import Limit
    from misstep.training.export import InitialModel
    from misstep.training.run import Run


class TrainingWork(OneBlock, ABC):
    """One training of one model."""

    starts_from: ClassVar[str]
    """Role of the input or external whose model is trained."""

    def __init__(self, ctx: StageContext) -> None:
        self._ctx = ctx

    def run(self, block: int) -> Output:
        from misstep.training.export import InitialModel
        from misstep.training.run import train

        start = InitialModel.load(self._ctx.model_folder(self.starts_from))
        return train(self._ctx, start, self.prepare(start))

    @abstractmethod
    def prepare(self, start: InitialModel) -> Run:
        """Make the rows and return what to do with them. Raises BadInput where the model cannot be trained on them."""

    def check_made_with(self, start: InitialModel, role: str) -> None:
        """Refuse an input whose token ids another tokenizer made. Raises BadInput."""
        from misstep.generation.fingerprint import check_tokenizer

        check_tokenizer(start.tokenizer, role, self._ctx.manifest_summary(role))


def prompts_of(start: InitialModel, prompt: PromptParams) -> tuple[PromptBuilder, frozenset[int]]:
    """Return what makes prompts and responses for a model, and the ids of its end tokens."""
    from misstep.generation.ends import end_ids
    from misstep.generation.prompts import PromptBuilder

    ends = end_ids(start.tokenizer, start.generation_config)
    return PromptBuilder(start.tokenizer, prompt, ends), ends


def limit_of(start: InitialModel, optimiser: OptimiserParams) -> Limit:
    """Return the most tokens that a row may have. Raises BadInput where the model's context is unknown."""
    from misstep.generation.loading import context_length_of
    from misstep.training.dropped import Limit

    return Limit(optimiser.max_length, context_length_of(start.config, start.tokenizer))
