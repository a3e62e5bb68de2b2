"""Replicates of every cell's error: test problems by bootstrap, training seeds by the t distribution. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from misstep.evaluation.student import Floats, even, inflation, normal

_CHUNK = 256


@dataclass(frozen=True)
class GridOutcome:
    """The results of one trained model on the test problems."""

    arm: str
    method: str
    size: int
    seed: int
    accuracy: Floats
    """Shape (problems,): the correct share of each problem's samples; all points in one order of problems."""
    draws: int
    """Number of answers: problems x samples."""
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
    """Shape (1 + replicates, points): the mean error of each point over the drawn problems."""
    luck: dict[Cell, Floats]
    """Cell -> the effect of its seeds' luck on its mean error, shape (1 + replicates,). Zero for a cell of one seed,
    whose luck cannot be measured."""

    def mean_error(self, cell: Cell) -> Floats:
        """Return the mean error over the cell's seeds on the drawn problems, without luck, shape (1 + replicates,)."""
        mean: Floats = self.points[:, list(cell.points)].mean(axis=1)
        return mean

    def error(self, cell: Cell) -> Floats:
        """Return the cell's error with both parts of chance; with a wide spread of seeds it may be outside [0, 1]."""
        return self.mean_error(cell) + self.luck[cell]


def resample(outcomes: Sequence[GridOutcome], cells: Sequence[Cell], replicates: int, seed: int) -> Replicates:
    """Draw problems with replacement, the same for all points, and the luck of seeds, the same for all arms.

    For every linear combination of cells with the same seeds (an accuracy, a difference of two arms), the seeds' part
    of the interval is that of Student's t. See `_luck`. The chance of samples is in both parts (a seed's mean contains
    the chance of its samples), so intervals are a little too wide rather than too narrow.
    """
    rng = np.random.default_rng(seed)
    errors = 1.0 - np.stack([o.accuracy for o in outcomes])
    problems = errors.shape[1]
    drawn = [errors.mean(axis=1)[None, :]]
    for start in range(0, replicates, _CHUNK):
        rows = min(_CHUNK, replicates - start)
        counts = rng.multinomial(problems, np.full(problems, 1.0 / problems), size=rows)
        drawn.append(counts.astype(np.float64) @ errors.T / problems)
    return Replicates(np.concatenate(drawn), _luck(outcomes, cells, replicates, rng))


def _luck(
    outcomes: Sequence[GridOutcome], cells: Sequence[Cell], replicates: int, rng: np.random.Generator
) -> dict[Cell, Floats]:
    """Draw the difference of each cell's mean over seeds from the mean over infinitely many seeds.

    The posterior of a normal mean with an unknown variance is a t around the measured mean (Gelman et al., Bayesian
    Data Analysis, 3rd ed., section 3.2). Here it is a multivariate t, so this holds for every weighted sum of cells.
    With S seeds and a cell's errors e_s with mean m, a replicate moves the cell by

        sum_s z_s (e_s - m) / sqrt(S (S - 1)) / sqrt(v / (S - 1)),   z_s normal, v chi-square with S - 1 degrees

    z belongs to the seed and v to the set of seeds, for all cells. So arms that share seeds keep their correlation,
    and any weighted sum of such cells has a t with S - 1 degrees and the standard error of that sum.
    """
    seeds = sorted({o.seed for o in outcomes})
    sets = sorted({tuple(sorted(outcomes[i].seed for i in cell.points)) for cell in cells if len(cell.points) > 1})
    uniform = even(replicates, len(seeds) + len(sets), rng)
    z = normal(uniform[:, : len(seeds)])
    wider = {members: inflation(uniform[:, len(seeds) + i], len(members) - 1) for i, members in enumerate(sets)}
    luck = {cell: np.zeros(1 + replicates) for cell in cells}
    for cell in cells:
        count = len(cell.points)
        if count == 1:
            continue
        own = [outcomes[i].seed for i in cell.points]
        errors = np.array([1.0 - outcomes[i].accuracy.mean() for i in cell.points])
        moved = z[:, [seeds.index(s) for s in own]] @ (errors - errors.mean())
        luck[cell][1:] = moved / math.sqrt(count * (count - 1)) * wider[tuple(sorted(own))]
    return luck
