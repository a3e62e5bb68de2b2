"""Finished Experiments of the study: what their stages left in the store."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from misstep.api.opening import load, make_plan
from misstep.artifacts.manifest import NotCommittedError
from misstep.artifacts.reader import Reader
from misstep.plan.planner import Plan
from misstep.store.open import open_store

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "study"
EXPERIMENTS = STUDY / "experiments"
STORE = "file://.misstep/study"
"""Where the commands of docs/study.md keep all results."""

Outcomes = NDArray[np.float64]
"""Shape (seeds, test problems): the share of a problem's samples that are correct."""


class Finished:
    """One Experiment of the study in a store.

    Args:
        name: of the Experiment.
        storage: URI of the store.
    """

    def __init__(self, name: str, storage: str = STORE) -> None:
        self.experiment = load(EXPERIMENTS / f"{name}.yaml", storage)

    @cached_property
    def plan(self) -> Plan:
        """Its stages."""
        return make_plan(self.experiment)

    @cached_property
    def reader(self) -> Reader:
        """Reads its artifacts where they are."""
        return Reader(open_store(self.plan.storage), Path(tempfile.gettempdir()))

    @property
    def arms(self) -> list[str]:
        """The names of its arms, and so of what `points` takes."""
        return [arm.name for arm in self.experiment.spec.arms]

    def points(self, arm: str) -> list[str]:
        """Return the ends of the names of an arm's stages, seed by seed."""
        (size,) = self.experiment.spec.problems.sizes
        return [f"{arm}-d{size}-s{seed}" for seed in self.experiment.spec.seeds]

    @property
    def credit(self) -> list[str]:
        """The names of its stages that credit the SFT policy, seed by seed."""
        return [stage.name for stage in self.plan.stages if stage.name.startswith("credit-d")]

    def has(self, stage: str) -> bool:
        """Return whether there is such a stage."""
        return any(one.name == stage for one in self.plan.stages)

    def key(self, stage: str) -> str:
        """Return the key of a stage."""
        return self.plan.stage(stage).key

    def summary(self, stage: str) -> dict[str, Any]:
        """Return what a stage said of its result. Raises NotCommittedError if it has none."""
        return dict(self.reader.manifest(self.key(stage)).summary)

    def outcomes(self, arm: str) -> Outcomes | None:
        """Return an arm's answers to the test problems; None if a seed is not done."""
        found = []
        for point in self.points(arm):
            try:
                table = self.reader.table(self.key(f"score-{point}"), "outcomes", ["samples", "correct"])
            except NotCommittedError:
                return None
            found.append(table["correct"].to_numpy() / table["samples"].to_numpy())
        return np.stack(found)
