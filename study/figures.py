"""The study's figures with their intervals, as the committed file `figures.json` holds them. No I/O but that file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from misstep.evaluation.estimates import Estimate
from misstep.evaluation.student import half_width
from study.finished import STUDY, Outcomes

FILE = STUDY / "figures.json"


@dataclass(frozen=True)
class Arm:
    """What came out for one arm of one Experiment."""

    accuracy: Estimate
    by_seed: tuple[float, ...]
    against: Mapping[str, Estimate]
    """Another arm of the Experiment, or `usual` for this arm where nothing is varied -> accuracy minus that one's, on
    the same seeds and problems."""
    rows: float = 0.0
    """Training rows, which are pairs for DPO; mean over seeds."""
    tokens: float = 0.0
    """Tokens trained on in all epochs; mean over seeds."""
    at_pit: float | None = None
    """For ``placebo-cut``: the share of its cuts that fall on the pit; over all seeds."""


@dataclass(frozen=True)
class Credit:
    """The pits of one Experiment, over all seeds; only of the first Experiment of those that share them."""

    rollouts: int
    tokens: int
    negatives: int
    pits: int
    true_pits: float
    """Share of credited wrong solutions whose pit is the true first error."""


@dataclass(frozen=True)
class Figures:
    """Everything that pictures and tables are made of."""

    arms: Mapping[str, Mapping[str, Arm]]
    """Experiment -> arm."""
    credit: Mapping[str, Credit]
    gradients: Mapping[str, Any] = field(default_factory=dict)
    """What `study/gradients.py` measured."""

    def arm(self, experiment: str, name: str) -> Arm | None:
        """Return what came out for an arm; None if that is not known."""
        return self.arms.get(experiment, {}).get(name)


def estimate(values: Outcomes) -> Estimate:
    """Return the mean over seeds and problems with its 95% interval: seeds by Student's t, problems by the normal.

    Args:
        values: shape (seeds, problems): accuracies, or differences of two arms on the same seeds and problems.
    """
    seeds, problems = values.shape
    by_seed, by_problem = values.mean(axis=1), values.mean(axis=0)
    of_seeds = float(by_seed.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    width = half_width(of_seeds, seeds - 1, float(by_problem.std(ddof=1)) / math.sqrt(problems))
    mean = float(values.mean())
    return Estimate(mean, mean - width, mean + width)


def write(figures: Figures, path: Path = FILE) -> None:
    """Write the file: figures with five decimals, one line for each arm."""
    path.write_text(_written(_rounded(asdict(figures)), 3) + "\n")


def read(path: Path = FILE) -> Figures:
    """Read the file."""
    made = json.loads(path.read_text())
    arms = {
        name: {
            arm: Arm(
                **{
                    **found,
                    "accuracy": Estimate(**found["accuracy"]),
                    "by_seed": tuple(found["by_seed"]),
                    "against": {other: Estimate(**e) for other, e in found["against"].items()},
                }
            )
            for arm, found in of.items()
        }
        for name, of in made["arms"].items()
    }
    return Figures(arms, {name: Credit(**found) for name, found in made["credit"].items()}, made["gradients"])


def _written(value: Any, levels: int) -> str:
    """Write JSON, with the fields of so many levels on lines of their own."""
    if not levels or not isinstance(value, Mapping):
        return json.dumps(value)
    lines = (f"{json.dumps(name)}: {_written(each, levels - 1)}" for name, each in value.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def difference(one: Outcomes, other: Outcomes) -> Estimate:
    """Return how much more accurate one arm is, on the same seeds and problems."""
    return estimate(np.asarray(one - other))
