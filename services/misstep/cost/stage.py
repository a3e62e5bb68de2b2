"""The cost of every stage of a plan, and of the whole. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from misstep.cost.amounts import Work, prompt_tokens
from misstep.cost.architecture import Architecture
from misstep.cost.expectations import Expectations, expectations
from misstep.cost.memory import Memory, generation_memory, inspection_memory, other_memory, training_memory
from misstep.cost.throughput import device_hours
from misstep.cost.work import work_of
from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.spec.assumptions import Assumptions

_WITH_ENGINE = p.SampleParams | p.CreditParams | p.SynthesizeParams | p.PairsParams


def decoding_of(params: p.Params) -> p.DecodingParams | None:
    """Return the settings of a stage's inference engine; None where it has none."""
    return params.decoding if isinstance(params, _WITH_ENGINE) else None


_LONGEST = 1.5
"""The longest row of a batch, as a multiple of the mean row."""


@dataclass(frozen=True)
class StageCost:
    """What one stage will cost."""

    stage: FrozenStage
    work: Work
    hours: float | None
    """Hours of one GPU if the stage has GPUs, else of one core; None if the model's shape is not known, or no tokens
    pass through it."""
    memory: Memory | None
    """Memory of one GPU or process, with rows of expected length; None if the model's shape is not known."""
    most_memory: Memory | None
    """The same with rows of the largest length that the settings allow."""

    @property
    def on_gpu(self) -> bool:
        return self.stage.resources.gpus > 0


@dataclass(frozen=True)
class Coster:
    """Costs single stages of one plan."""

    model: Architecture | None
    """The policy's."""
    teacher: Architecture | None
    """Of a teacher that runs here."""
    means: Expectations
    assumptions: Assumptions
    prompt: float
    """Mean tokens of a prompt."""

    def model_of(self, stage: FrozenStage) -> Architecture | None:
        """Return the shape of the model that a stage runs or checks; None if it is not known or there is none."""
        of_teacher = stage.kind is StageKind.SYNTHESIZE or (
            stage.kind is StageKind.INSPECT and stage.params["prompt"] is None
        )
        return self.teacher if of_teacher else self.model

    def cost(self, stage: FrozenStage, work: Work) -> StageCost:
        params, model = stage.typed_params(), self.model_of(stage)
        if isinstance(params, p.InspectParams):
            memory = inspection_memory(model) if model is not None else None
            return StageCost(stage, work, None, memory, memory)
        runs_a_model = isinstance(params, p.SampleParams | p.CreditParams | p.SftParams | p.DpoParams)
        runs_a_model |= isinstance(params, p.SynthesizeParams) and params.endpoint_model is None
        runs_a_model |= isinstance(params, p.PairsParams) and params.decoding is not None
        if not runs_a_model:
            return StageCost(stage, work, None, other_memory(), other_memory())
        if model is None:
            return StageCost(stage, work, None, None, None)
        decoding = decoding_of(params)
        engine = decoding.engine if decoding else "transformers"
        on_gpu = stage.resources.gpus > 0
        hours = device_hours(work, model.parameters, engine, on_gpu, self.assumptions)
        return StageCost(stage, work, hours, self.memory(stage), self.memory(stage, at_most=True))

    def memory(self, stage: FrozenStage, *, at_most: bool = False) -> Memory:
        """Memory of one GPU or process of a stage that generates or trains; the model's shape must be known.

        Args:
            at_most: with training rows of ``max_length`` tokens, not of the expected length.
        """
        model, params = self.model_of(stage), stage.typed_params()
        assert model is not None
        decoding = decoding_of(params)
        if decoding is not None:
            # Credit continues prefixes of responses: together they are no longer than a sample.
            return generation_memory(model, decoding, stage.resources, self.prompt * _LONGEST)
        assert isinstance(params, p.SftParams | p.DpoParams)
        return training_memory(
            model,
            params.optimiser,
            params.selection,
            stage.resources,
            row_tokens=self._row_limit(params) if at_most else self._longest_row(params),
            prompt_tokens=self.prompt * _LONGEST,
            sides=2 if isinstance(params, p.DpoParams) else 1,
        )

    def _longest_row(self, params: p.SftParams | p.DpoParams) -> float:
        means = self.means
        own = isinstance(params, p.DpoParams | p.RftParams)
        response = max(means.solution_tokens, means.response_tokens) if own else means.solution_tokens
        return min(_LONGEST * (self.prompt + response), self._row_limit(params))

    def _row_limit(self, params: p.SftParams | p.DpoParams) -> int:
        assert self.model is not None
        return min(params.optimiser.max_length, self.model.context or params.optimiser.max_length)


@dataclass(frozen=True)
class PlanCost:
    """What a plan will cost, and what was assumed about it."""

    stages: Mapping[str, StageCost]
    coster: Coster

    def hours(self, *, on_gpu: bool) -> float:
        """GPU-hours, or core-hours, of all stages."""
        return sum(cost.hours or 0.0 for cost in self.stages.values() if cost.on_gpu is on_gpu)


def plan_cost(
    plan: Plan,
    model: Architecture | None,
    assumptions: Assumptions | None = None,
    teacher: Architecture | None = None,
) -> PlanCost:
    """Cost a plan.

    Args:
        model: the policy's shape; None leaves out hours and memory.
        assumptions: expectations that replace the defaults.
        teacher: the shape of a teacher that runs here.
    """
    assumptions = assumptions or Assumptions()
    means = expectations(plan, assumptions)
    coster = Coster(model, teacher, means, assumptions, _prompt_tokens(plan, means))
    work = work_of(plan, means)
    return PlanCost({s.name: coster.cost(s, work[s.name]) for s in plan.stages}, coster)


def _prompt_tokens(plan: Plan, means: Expectations) -> float:
    """Mean tokens of a prompt: all stages of a plan have the same template."""
    trained = next(params for s in plan.stages if isinstance(params := s.typed_params(), p.SftParams))
    return prompt_tokens(trained.prompt, means)
