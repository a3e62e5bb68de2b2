"""Student's t: evenly spread draws, and the interval of the sum of a t and a normal. No I/O."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959963984540054
"""The normal distribution's 97.5% quantile: every interval here is a 95% one."""
_NODES = 4096


def even(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """Return uniform numbers in (0, 1) that fill the unit cube evenly (Sobol's sequence, scrambled).

    With few seeds the ends of an interval are far out in the tails, where independent numbers would need several times
    as many replicates.
    """
    from scipy.stats import qmc

    exponent = max(1, math.ceil(math.log2(rows)))
    points: Floats = qmc.Sobol(max(1, columns), rng=rng).random_base2(exponent)[:rows, :columns]
    return np.clip(points, 1e-9, 1.0 - 1e-9)


def normal(uniform: Floats) -> Floats:
    """Return the normal distribution's values at the given quantiles."""
    from scipy.special import ndtri

    values: Floats = ndtri(uniform)
    return values


def inflation(uniform: Floats, degrees: int) -> Floats:
    """Return ``sqrt(degrees / chi-square)`` at the given quantiles: the factor that makes a t of a normal."""
    from scipy.special import chdtri

    values: Floats = np.sqrt(degrees / chdtri(degrees, uniform))
    return values


def t_draws(rows: int, columns: int, degrees: int, rng: np.random.Generator) -> Floats:
    """Draw a multivariate t, shape (rows, columns): independent normals over one common chi-square."""
    uniform = even(rows, columns + 1, rng)
    draws: Floats = normal(uniform[:, :columns]) * inflation(uniform[:, columns], degrees)[:, None]
    return draws


def half_width(t_error: float, degrees: int, normal_error: float) -> float:
    """Return half the central 95% interval of ``t_error * T + normal_error * Z``, T a t and Z a normal.

    Given T's chi-square the sum is normal, so its distribution is a mean over chi-squares. With zero degrees of freedom
    there is no T.
    """
    if t_error <= 0.0 or degrees < 1:
        return Z95 * normal_error
    from scipy.special import ndtr

    spreads = np.sqrt((t_error * _inflations(degrees)) ** 2 + normal_error**2)
    low, high = 0.0, Z95 * float(spreads.max())
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if float(ndtr(middle / spreads).mean()) < 0.975 else (low, middle)
    return high


@lru_cache(maxsize=16)
def _inflations(degrees: int) -> Floats:
    """Inflations at the middles of equal shares of chi-square's distribution."""
    return inflation((np.arange(_NODES) + 0.5) / _NODES, degrees)
