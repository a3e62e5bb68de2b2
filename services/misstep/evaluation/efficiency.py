"""How many problems plain fine-tuning would have needed: D_eq / D, and when that cannot be determined. No I/O.

Two figures for every arm and size, both relative to the SFT arm: ``fitted`` reads D_eq off the power law
through SFT's means, ``interpolated`` off the means themselves (`curve.FallingCurve`). Because the
exponent is small, a small difference of error is a large factor: with b = 0.15 a factor of 8 is an error
ratio of 0.73, with b = 0.05 of 0.90. So every factor comes with the error ratio, and a factor that the data do not
support is replaced by a reason in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from misstep.evaluation.curve import REACH, FallingCurve, Reading, fit_power_law, size_on_line
from misstep.evaluation.estimates import CellWorth, Estimate, Fit, Worth
from misstep.evaluation.resample import Cell, GridOutcome, cells_of, resample
from misstep.evaluation.student import Floats, t_draws

MIN_PROBLEMS = 50
MIN_SIZES = 3
_FURTHEST = 30.0
"""The limit of the effect of luck on the logarithm of an error: a factor of e^30 is beyond any curve."""


class Efficiency:
    """The analysis of one grid; everything follows from the outcomes and one seed.

    Args:
        outcomes: every grid point; the first arm with method ``sft`` is the yardstick.
        replicates: number of draws of test problems and of the luck of seeds (`resample`).
        seed: the seed of the draws.

    For differences, the luck of seeds is added to the errors. For curves and factors, which use the logarithm of the
    error, luck divided by error is added to it: this is equal to first order, and no error becomes negative.

    With one seed the luck of training cannot be measured. Instead, the scatter of SFT's points about their line beyond
    the chance of the test problems is used, for cells of SFT and of other arms, with the degrees of freedom of that
    line.
    """

    def __init__(self, outcomes: Sequence[GridOutcome], replicates: int, seed: int) -> None:
        self.outcomes = outcomes
        self.cells = cells_of(outcomes)
        self._replicates = resample(outcomes, self.cells, replicates, seed)
        self._floor = 0.5 / min(o.draws for o in outcomes)
        self.yardstick = next((c.arm for c in self.cells if c.method == "sft"), None)
        self._sft = [c for c in self.cells if c.arm == self.yardstick]
        self._errors: dict[Cell, Floats] = {c: self._replicates.error(c) for c in self.cells}
        self._logs: dict[Cell, Floats] = {c: self._log_error(c) for c in self.cells}
        self.fit: Fit | None = None
        self.no_fit: str | None = self._reason_for_no_curve()
        if self.no_fit is None:
            self._fit_and_scatter(np.random.default_rng([seed, 1]))

    def _mean_log(self, cell: Cell) -> Floats:
        """Return the logarithm of the cell's error on the drawn problems, without the luck of seeds."""
        logs: Floats = np.log(np.maximum(self._replicates.mean_error(cell), self._floor))
        return logs

    def _log_error(self, cell: Cell) -> Floats:
        mean = self._mean_log(cell)
        return mean + np.clip(self._replicates.luck[cell] / math.exp(mean[0]), -_FURTHEST, _FURTHEST)

    def worth(self, cell: Cell) -> CellWorth:
        """Return a cell's factors, its error ratio and its difference of accuracy to SFT at the same size."""
        reason = self._reason_for_no_factor(cell)
        if reason is None:
            fitted, interpolated = self._fitted(cell), self._interpolated(cell)
        else:
            fitted = interpolated = Worth(reason=reason)
        return CellWorth(self._error_ratio(cell), self._difference_to_sft(cell), fitted, interpolated)

    def difference(self, one: Cell, other: Cell) -> Estimate:
        """Return the accuracy of one cell minus that of another, over the same draws of problems and seeds."""
        return _span(np.clip(self._errors[other] - self._errors[one], -1.0, 1.0))

    def _reason_for_no_curve(self) -> str | None:
        if self.yardstick is None:
            return "There is no SFT arm to measure against."
        problems = len(self.outcomes[0].accuracy)
        if problems < MIN_PROBLEMS:
            return f"Only {problems} test problems: too few to tell errors apart (at least {MIN_PROBLEMS})."
        if len(self._sft) < MIN_SIZES:
            sizes = _count(len(self._sft), "size")
            return f"SFT was run at {sizes} only: a curve needs at least {MIN_SIZES}."
        if all(self._errors[c][0] >= 1.0 for c in self._sft):
            return "SFT solves none of the test problems at any size, so it has no curve to read from."
        if all(self._errors[c][0] == self._errors[self._sft[0]][0] for c in self._sft):
            return "SFT's error is the same at every size, so it has no curve to read from."
        return None

    def _reason_for_no_factor(self, cell: Cell) -> str | None:
        if cell.method == "sft":
            return "This is SFT, the yardstick itself." if cell.arm == self.yardstick else "This is SFT too."
        untrained = [o.untrained for o in map(self.outcomes.__getitem__, cell.points) if o.untrained]
        if untrained:
            return f"Nothing was trained here: {untrained[0]}."
        if self.no_fit is not None:
            return self.no_fit
        if self._errors[cell][0] >= 1.0:
            return "It solves none of the test problems."
        assert self.fit is not None
        if self.fit.b.low <= 0.0:
            return (
                "SFT's slope cannot be told from zero (exponent b between "
                f"{self.fit.b.low:.2f} and {self.fit.b.high:.2f}): more problems do not measurably help it."
            )
        return None

    def _fit_and_scatter(self, rng: np.random.Generator) -> None:
        """Fit the line through SFT's means; add the scatter about it to cells of one seed, in every replicate.

        The interval of the exponent also uses the scatter of all trainings about the line: since it depends on all of
        them, it has more degrees of freedom than there are seeds.
        """
        x = np.log([float(c.size) for c in self._sft])
        weights = np.array([float(len(c.points)) for c in self._sft])
        log_a, b = fit_power_law(x, np.stack([self._logs[c][:1] for c in self._sft], axis=1), weights)
        columns = [index for cell in self._sft for index in cell.points]
        sizes = np.log([float(self.outcomes[i].size) for i in columns])
        points = np.log(np.maximum(self._replicates.points[:, columns], self._floor))
        residuals = points[0] - (log_a[0] - b[0] * sizes)
        explained = float(points[1:].var(axis=0).mean())
        degrees = len(columns) - 2
        scatter = math.sqrt(max(0.0, float((residuals**2).sum()) / degrees - explained))
        noise = np.zeros((len(points), len(self.cells)))
        noise[1:] = scatter * t_draws(len(points) - 1, len(self.cells), degrees, rng)
        for column, cell in enumerate(self.cells):
            if len(cell.points) == 1:
                self._logs[cell] += noise[:, column]
                self._errors[cell] *= np.exp(np.clip(noise[:, column], -_FURTHEST, _FURTHEST))
        y = np.stack([self._logs[c] for c in self._sft], axis=1)
        self._log_a, self._b = fit_power_law(x, y, weights)
        about_line = np.stack([self._mean_log(c) for c in self._sft], axis=1)
        about_line += noise[:, [self.cells.index(c) for c in self._sft]] / np.sqrt(weights)
        self.fit = Fit(
            a=math.exp(float(self._log_a[0])),
            b=_span(fit_power_law(x, about_line, weights)[1]),
            points=len(columns),
            sizes=tuple(c.size for c in self._sft),
            worst_deviation=float(np.abs(np.expm1(residuals)).max()),
            training_scatter=scatter,
        )
        self._curves = [FallingCurve(self.fit.sizes, row, weights.tolist()) for row in np.exp(y).tolist()]

    def _fitted(self, cell: Cell) -> Worth:
        assert self.fit is not None
        lines = zip(self._log_a, self._b, np.exp(self._logs[cell]), strict=True)
        needed = np.array([size_on_line(a, b, e) for a, b, e in lines])
        first, last = self.fit.sizes[0] / REACH, self.fit.sizes[-1] * REACH
        if needed[0] > last:
            return Worth(
                reason=f"SFT's line reaches this error at about {_round(needed[0])} problems, over twice the largest "
                "size measured."
            )
        if needed[0] < first:
            return Worth(reason="SFT's line reaches this error at less than half of the smallest size measured.")
        beyond = bool(needed[0] > self.fit.sizes[-1] or needed[0] < self.fit.sizes[0])
        needed = np.where(needed > last, math.inf, np.where(needed < first, 0.0, needed))
        return _worth(Reading("=", float(needed[0]), beyond), needed, cell.size)

    def _interpolated(self, cell: Cell) -> Worth:
        errors = np.exp(self._logs[cell])
        readings = [curve.needed(float(e)) for curve, e in zip(self._curves, errors, strict=True)]
        return _worth(readings[0], np.array([r.as_number() for r in readings]), cell.size)

    def _at_same_size(self, cell: Cell) -> Cell | None:
        return next((c for c in self._sft if c.size == cell.size), None)

    def _error_ratio(self, cell: Cell) -> Estimate | None:
        if cell.method == "sft":
            return None
        same = self._at_same_size(cell)
        if same is not None:
            if self._errors[same][0] <= 0.0:
                return None
            sft = self._logs[same]
        elif self.fit is not None:
            at = [curve.error_at(cell.size) for curve in self._curves]
            if at[0] is None:
                return None
            sft = np.log(np.array(at, dtype=np.float64))
        else:
            return None
        return _span(np.exp(np.clip(self._logs[cell] - sft, -_FURTHEST, _FURTHEST)))

    def _difference_to_sft(self, cell: Cell) -> Estimate | None:
        same = self._at_same_size(cell)
        return None if same is None or cell.method == "sft" else self.difference(cell, same)


def needed_ratio(factor: float, b: float) -> float:
    """Return the error ratio that a factor means at slope b: ``factor^-b``."""
    return math.pow(factor, -b)


def median_factor(worths: Mapping[int, Worth]) -> float | None:
    """Return the median factor over an arm's sizes, if there are several and each one has a number."""
    factors = [w.factor for w in worths.values() if w.relation == "=" and w.factor is not None]
    return float(np.median(factors)) if len(factors) == len(worths) > 1 else None


def _worth(reading: Reading, numbers: Floats, size: int) -> Worth:
    """Convert a reading and its replicates (0 and infinity: outside the measured range) to a factor."""
    bound = reading.problems / size
    ends = _percentiles(numbers[1:])
    low, high = (_inside(end / size) for end in ends)
    if reading.relation == ">":
        low = bound if ends[0] == math.inf else low and min(low, bound)
        return Worth(">", bound, low, None, reading.problems)
    if reading.relation == "<":
        high = bound if ends[1] == 0.0 else high and max(high, bound)
        return Worth("<", bound, None, high, reading.problems)
    return Worth("=", bound, low, high, reading.problems, reading.beyond)


def _inside(value: float) -> float | None:
    return value if 0.0 < value < math.inf else None


def _percentiles(values: Floats) -> tuple[float, float]:
    """Return the 2.5% and 97.5% quantiles as order statistics, so that infinities never enter an average."""
    low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def _span(values: Floats) -> Estimate:
    """Summarise a row of replicates whose first is the measurement."""
    low, high = _percentiles(values[1:])
    return Estimate(float(values[0]), min(low, float(values[0])), max(high, float(values[0])))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _round(problems: float) -> str:
    """Return a number of problems to two significant figures: 34,812 -> 35,000."""
    if problems > 1e9:
        return "over a billion"
    digits = max(0, math.floor(math.log10(max(problems, 1.0))) - 1)
    return f"{round(problems, -digits):,.0f}"
