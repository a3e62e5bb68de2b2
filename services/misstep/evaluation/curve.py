"""The SFT curve as a yardstick: a power law fit, and a model-free reading. No I/O, no randomness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from misstep.evaluation.estimates import Relation

REACH = 2.0
"""How far the fitted line may be extrapolated: to twice the largest measured size, and to half the smallest."""
_FAR = 50.0  # natural logarithm of a size that no data set has; keeps exp() finite


@dataclass(frozen=True, slots=True)
class Reading:
    """The number of problems at which a curve reaches an error, or the side of the curve on which the error is."""

    relation: Relation
    """``>``: more than ``problems``, the largest size; ``<``: fewer than ``problems``, the smallest."""
    problems: float
    beyond: bool = False
    """Read from the fitted line outside the measured sizes, by a factor of at most ``REACH``."""

    def as_number(self) -> float:
        """Return the reading for percentiles: infinity for ``>``, 0 for ``<``."""
        return {"=": self.problems, ">": math.inf, "<": 0.0}[self.relation]


def falling(errors: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the non-increasing curve nearest to ``errors`` (pool adjacent violators, weighted least squares).

    Barlow et al. 1972; a noisy curve that rises with size has no inverse, so points that rise are averaged.
    """
    from scipy.optimize import isotonic_regression

    fitted: list[float] = isotonic_regression(errors, weights=weights, increasing=False).x.tolist()
    return fitted


class FallingCurve:
    """The SFT errors by size, made non-increasing and joined by straight lines in log-log.

    Args:
        sizes: rising numbers of problems, at least two.
        errors: above 0, one per size.
        weights: seeds behind each error.
    """

    def __init__(self, sizes: Sequence[int], errors: Sequence[float], weights: Sequence[float]) -> None:
        self._sizes = sizes
        self._x = [math.log(size) for size in sizes]
        self._y = [math.log(error) for error in falling(errors, weights)]

    def needed(self, error: float) -> Reading:
        """Return the smallest number of problems at which the curve is at or below ``error``.

        There is no extrapolation: beyond the last point, or below the first one, the reading is only a bound.
        """
        x, y, target = self._x, self._y, math.log(error)
        if target > y[0]:
            return Reading("<", float(self._sizes[0]))
        # First point at or below the target; y never rises, so -y is sorted.
        right = next((i for i, value in enumerate(y) if value <= target), None)
        if right == 0:
            return Reading("=", float(self._sizes[0]))
        if right is not None:
            return Reading("=", math.exp(_meet(x[right - 1], y[right - 1], x[right], y[right], target)))
        return Reading(">", float(self._sizes[-1]))

    def error_at(self, size: int) -> float | None:
        """Return the curve's error at a size, or None outside the measured sizes."""
        if not self._sizes[0] <= size <= self._sizes[-1]:
            return None
        return math.exp(float(np.interp(math.log(size), self._x, self._y)))


def _meet(x0: float, y0: float, x1: float, y1: float, y: float) -> float:
    """Return where the line through two points takes the value y."""
    return x0 + (y - y0) * (x1 - x0) / (y1 - y0)


def fit_power_law(
    log_sizes: NDArray[np.float64], log_errors: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit ``err = a * D^-b`` by least squares in log-log; return (log a, b), each of shape (replicates,).

    ``log_sizes`` and ``weights`` have shape (sizes,); ``log_errors`` (replicates, sizes). The form is the
    usual one for fine-tuning data (arXiv 2402.17193); arXiv 2406.14532 finds b between 0.05 and 0.15.
    """
    share = weights / weights.sum()
    x = log_sizes - share @ log_sizes
    slope: NDArray[np.float64] = log_errors @ (share * x) / (share @ (x * x))
    return log_errors @ share - slope * (share @ log_sizes), -slope


def size_on_line(log_a: float, b: float, error: float) -> float:
    """Return ``D_eq = (e/a)^(-1/b)``; for a line that does not fall, infinity (error below it) or 0."""
    distance = log_a - math.log(error)
    if b <= 0.0:
        return math.inf if distance > 0.0 else 0.0
    return math.exp(max(-_FAR, min(_FAR, distance / b)))
