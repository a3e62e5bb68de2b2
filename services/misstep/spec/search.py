"""``spec.search``: the settings that ``misstep tune`` tries, the same ones for all arms of a method."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator
from pydantic.alias_generators import to_camel

from misstep.spec.fields import Count, Number, Percent, SpecModel, plain_number

MOST_SETTINGS = 64
"""Of one method."""
T = TypeVar("T")


def _each_once(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("list each value once")
    return values


Values = Annotated[list[T], Field(min_length=1, max_length=8), AfterValidator(_each_once)]
"""The values of one field that are tried."""


def _written(value: Any) -> Any:
    return plain_number(value) if isinstance(value, float) else value


def _combinations(lists: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


class TrainingGrid(SpecModel):
    """Lists of values for fields of `spec.training`. Every combination is one setting; a field that is not listed keeps
    its value."""

    learning_rate: Values[Number] | None = None
    """Peak learning rates."""
    epochs: Values[Count] | None = None
    """Passes over the training rows."""
    batch_size: Values[Count] | None = None
    """Rows (pairs for DPO) in one optimiser step."""
    schedule: Values[Literal["constant", "linear", "cosine"]] | None = None
    """Learning rate after the warm-up."""
    warmup_percent: Values[Percent] | None = None
    """Share of the steps in which the learning rate rises."""
    weight_decay: Values[Number] | None = None
    """AdamW's weight decay."""
    lora_rank: Values[Count] | None = None
    """Ranks of low-rank adapters."""

    @model_validator(mode="after")
    def _few_enough(self) -> TrainingGrid:
        count = prod(len(values) for values in self.lists.values())
        if count > MOST_SETTINGS:
            raise ValueError(f"the lists make {count} settings, and {MOST_SETTINGS} are the most: shorten some of them")
        return self

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The fields that are searched, with the values to try."""
        found = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: values for name, values in found if values is not None}

    def settings(self) -> list[dict[str, Any]]:
        """Every setting (field -> value), with the last field changing fastest."""
        return _combinations(self.lists)

    def written(self) -> list[dict[str, Any]]:
        """The same settings as the YAML spells them: camelCase, and whole numbers without a fraction."""
        return _combinations(self.written_lists)

    @property
    def written_lists(self) -> dict[str, list[Any]]:
        """The fields that are searched, in the spelling of the YAML."""
        return {to_camel(name): [_written(value) for value in values] for name, values in self.lists.items()}


class SftGrid(TrainingGrid):
    """What is tried for the `sft` arm."""


class RftGrid(TrainingGrid):
    """What is tried for every `rft` arm."""

    per_problem: Values[Count] | None = None
    """Distinct solutions of one problem, at most."""
    with_teacher: Values[bool] | None = None
    """Whether to train on the teacher's solutions too."""


class DpoGrid(TrainingGrid):
    """What is tried for every `dpo` arm, whatever its pairs."""

    beta: Values[Number] | None = None
    """Values of beta, the strength of the pull towards the reference."""
    nll_weight: Values[Number] | None = None
    """Weights of the added negative log-likelihood of the chosen side."""


class Search(SpecModel):
    """The search of `misstep tune`: it judges settings on validation problems, with its own seeds. `misstep run`
    ignores it."""

    seeds: list[int] = Field(default=[100, 101, 102], min_length=1, max_length=16)
    """Seeds of the search; none of them may be in `spec.seeds`."""
    sizes: list[Count] | None = Field(default=None, min_length=1, max_length=8)
    """Numbers of training problems to search at, for every arm; by default the smallest of `problems.sizes` at which
    all arms run."""
    problems: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Number of validation problems that judge the settings. They are separate from those that choose checkpoints, and
    come after them."""
    sft: SftGrid = SftGrid()
    rft: RftGrid = RftGrid()
    dpo: DpoGrid = DpoGrid()

    @model_validator(mode="after")
    def _seeds_and_sizes(self) -> Search:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("search.seeds must be different numbers of zero or more")
        if self.sizes is not None and len(set(self.sizes)) < len(self.sizes):
            raise ValueError("search.sizes lists each size once")
        return self

    def grid(self, method: str) -> TrainingGrid:
        """The grid of a method."""
        grid: TrainingGrid = getattr(self, method)
        return grid
