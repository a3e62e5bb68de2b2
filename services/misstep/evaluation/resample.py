"""Bootstrap replicates of every grid point's error, over test problems and training seeds jointly. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CHUNK = 256


@dataclass(frozen=True)
class GridOutcome:
    """What one trained model did on the test problems."""

    arm: str
    method: str
    size: int
    seed: int
    accuracy: Floats
    """Shape (problems,): the correct share of each problem's samples; all points in one order of problems."""
    draws: int
    """Answers behind it: problems x samples."""
    untrained: str | None = None
    """Why no training took place and the model is its starting point; None for a trained one."""


@dataclass(frozen=True)
class Cell:
    """All seeds of one arm at one size."""

    arm: str
    method: str
    size: int
    points: tuple[int, ...]
    """Indices into the outcomes."""


def cells_of(outcomes: Sequence[GridOutcome]) -> list[Cell]:
    """Group outcomes by arm and size: arms in order of appearance, sizes rising."""
    arms = list(dict.fromkeys(o.arm for o in outcomes))
    groups: dict[tuple[int, int], list[int]] = {}
    for index, outcome in enumerate(outcomes):
        groups.setdefault((arms.index(outcome.arm), outcome.size), []).append(index)
    return [
        Cell(arms[arm], outcomes[points[0]].method, size, tuple(points))
        for (arm, size), points in sorted(groups.items())
    ]


@dataclass(frozen=True)
class Replicates:
    """Errors as measured and as resampled. Row 0 of every array is the measurement itself."""

    points: Floats
    """Shape (1 + replicates, points)."""
    weights: Floats
    """Shape (1 + replicates, points): how often each point's seed was drawn."""

    def cell_errors(self, cell: Cell) -> Floats:
        """Return the mean error over the drawn seeds of one cell, shape (1 + replicates,)."""
        columns = list(cell.points)
        weights = self.weights[:, columns]
        mean: Floats = (self.points[:, columns] * weights).sum(axis=1) / weights.sum(axis=1)
        return mean


def resample(outcomes: Sequence[GridOutcome], cells: Sequence[Cell], replicates: int, seed: int) -> Replicates:
    """Draw problems with replacement, the same for all points; draw seeds likewise, the same for all arms.

    Arms at one seed share their problems, their SFT policy and its samples, hence the common draw of seeds. A
    cell that has none of the drawn seeds keeps all of its own.
    """
    rng = np.random.default_rng(seed)
    errors = 1.0 - np.stack([o.accuracy for o in outcomes])
    problems = errors.shape[1]
    drawn = [errors.mean(axis=1)[None, :]]
    for start in range(0, replicates, _CHUNK):
        rows = min(_CHUNK, replicates - start)
        counts = rng.multinomial(problems, np.full(problems, 1.0 / problems), size=rows)
        drawn.append(counts.astype(np.float64) @ errors.T / problems)
    seeds = sorted({o.seed for o in outcomes})
    of_seed = rng.multinomial(len(seeds), np.full(len(seeds), 1.0 / len(seeds)), size=replicates)
    column = [seeds.index(o.seed) for o in outcomes]
    weights = np.concatenate([np.ones((1, len(outcomes))), of_seed[:, column].astype(np.float64)])
    for cell in cells:
        columns = list(cell.points)
        absent = weights[:, columns].sum(axis=1) == 0.0
        weights[np.ix_(absent, columns)] = 1.0
    return Replicates(np.concatenate(drawn), weights)
