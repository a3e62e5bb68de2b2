"""The result of a search, stored as ``search.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from misstep.search.choose import Edge, Mean, choose, mean
from misstep.search.grid import Candidate
from misstep.spec.fields import number_text
from misstep.spec.search import TrainingGrid

Accuracies = Mapping[tuple[str, int, int], float]
"""(candidate, size, seed) -> pass@1 on the judging validation problems."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tried(_Record):
    """One setting of an arm."""

    name: str
    """Its name in the names of its stages."""
    setting: dict[str, Any]
    """In the YAML's spelling."""
    accuracies: dict[int, dict[int, float]]
    """Size -> seed -> pass@1."""
    mean: float
    """Mean over seeds; each seed's value is a mean over sizes."""
    standard_error: float | None
    """Standard error of the mean over seeds; None with one seed."""

    @property
    def by_seed(self) -> dict[int, float]:
        """Seed -> pass@1, the mean over sizes."""
        return by_seed(self.accuracies)


class ArmResult(_Record):
    """All settings of an arm."""

    arm: str
    method: str
    grid: dict[str, list[Any]]
    """The values of each searched field, in the YAML's spelling."""
    tried: list[Tried]
    chosen: int
    """Index into ``tried``, like ``second``."""
    second: int | None
    told_apart: bool | None
    """Whether chosen and second differ by more than chance (95%, over seeds); None if that is not known."""
    warnings: list[str]

    @property
    def best(self) -> Tried:
        """The chosen setting."""
        return self.tried[self.chosen]


class SearchResult(_Record):
    """A whole search."""

    experiment: str
    seeds: list[int]
    sizes: list[int]
    choosing_problems: int
    """How many validation problems, from the first, choose checkpoints."""
    judging_problems: int
    """How many of the next ones judge the settings."""
    samples: int
    """Number of samples of each judging problem."""
    arms: list[ArmResult]


def by_seed(accuracies: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over sizes of each seed. ``accuracies``: size -> seed -> pass@1."""
    seeds = next(iter(accuracies.values()))
    return {seed: mean([at[seed] for at in accuracies.values()]).value for seed in seeds}


def arm_result(
    arm: str,
    tried: Sequence[Candidate],
    grid: TrainingGrid,
    accuracies: Accuracies,
    sizes: Sequence[int],
    seeds: Sequence[int],
) -> ArmResult:
    """Choose the best of an arm's candidates, with notes on the choice."""
    found: list[Tried] = []
    for candidate in tried:
        name = candidate.arm.name
        table = {size: {seed: accuracies[name, size, seed] for seed in seeds} for size in sizes}
        average: Mean = mean(list(by_seed(table).values()))
        found.append(
            Tried(
                name=name,
                setting=dict(candidate.written),
                accuracies=table,
                mean=average.value,
                standard_error=average.error,
            )
        )
    choice = choose([list(each.by_seed.values()) for each in found], [each.setting for each in tried], grid.lists)
    warnings = [_edge_warning(arm, edge, found[choice.best].setting) for edge in choice.edges]
    if choice.second is not None and not choice.told_apart:
        warnings.append(_apart_warning(arm, found[choice.best], found[choice.second]))
    return ArmResult(
        arm=arm,
        method=tried[0].arm.method,
        grid=grid.written_lists,
        tried=found,
        chosen=choice.best,
        second=choice.second,
        told_apart=choice.told_apart,
        warnings=warnings,
    )


def setting_text(setting: Mapping[str, Any]) -> str:
    """Format a setting for people: ``learningRate 1e-3, epochs 16``."""
    return ", ".join(
        f"{name} {str(value).lower() if isinstance(value, bool) else _value_text(value)}"
        for name, value in setting.items()
    )


def _value_text(value: Any) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def _edge_warning(arm: str, edge: Edge, setting: Mapping[str, Any]) -> str:
    field = to_camel(edge.field)
    best = f"the best {field}, {_value_text(setting[field])},"
    further = "higher" if edge.side == "highest" else "lower"
    return f"{arm}: {best} is the {edge.side} that was tried: try {further} ones too"


def _apart_warning(arm: str, best: Tried, second: Tried) -> str:
    if best.mean == second.mean:
        how = "are equally good, so the first in the grid was taken"
    elif best.standard_error is None:
        how = "were compared with one seed, which cannot rule out chance: search with more seeds"
    else:
        how = "cannot be distinguished with these seeds"
    return f"{arm}: ({setting_text(best.setting)}) and ({setting_text(second.setting)}) {how}"
