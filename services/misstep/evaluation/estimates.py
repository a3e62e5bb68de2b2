"""Estimates with their intervals, as plain data that the command line reads without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Relation = Literal["=", ">", "<"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Worth:
    """A factor D_eq / D, or the reason why there is none."""

    relation: Relation | None = None
    """``>``: more than ``factor``; ``<``: less; None if there is no factor."""
    factor: float | None = None
    low: float | None = None
    """Ends of the 95% interval; None means outside the measured range."""
    high: float | None = None
    needed: float | None = None
    """D_eq in problems; for ``>`` and ``<`` the largest or smallest measured size of SFT."""
    extrapolated: bool = False
    """D_eq is outside the measured sizes of SFT, but within the trusted extrapolation."""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """The power law ``err = a * D^-b`` through the SFT points."""

    a: float
    b: Estimate
    points: int
    sizes: tuple[int, ...]
    worst_deviation: float
    """The largest relative distance of a point's error from the line."""
    training_scatter: float
    """Standard deviation of log error about the line, beyond the part that the test problems explain."""


@dataclass(frozen=True, slots=True)
class CellWorth:
    """What one arm at one size is worth against SFT."""

    error_ratio: Estimate | None
    """The cell's error divided by SFT's at the same size (interpolated if SFT was not run at it)."""
    difference: Estimate | None
    """The cell's accuracy minus SFT's at the same size, if SFT was run at it."""
    fitted: Worth
    interpolated: Worth
