"""The plot of factors: how many times as many problems SFT needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from misstep.evaluation.estimates import Worth
from misstep.evaluation.results import Cell, Results
from misstep.evaluation.style import ArmStyle, arm_styles, log_ticks
from misstep.evaluation.svg import INK, MUTED, PAPER, Picture, new_axes, picture


def worth_picture(results: Results) -> Picture | None:
    """Draw the factors of every method with their intervals; None if there are none."""
    cells = [c for c in results.cells if _has_factor(c.worth.interpolated) or _has_factor(c.worth.fitted)]
    if not cells:
        return None
    height = 0.9 + 0.42 * len(cells)
    label = "How many times as many problems SFT needs for the same accuracy"
    return picture("worth", label, lambda wide: _worth(results, cells, (9.3, height) if wide else (4.0, height + 0.3)))


def _has_factor(worth: Worth) -> bool:
    return worth.relation is not None


def _worth(results: Results, cells: Sequence[Cell], size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    styles = arm_styles(results)
    for row, cell in enumerate(cells):
        _worth_row(axes, row - 0.14, cell.worth.interpolated, styles[cell.arm], filled=True)
        _worth_row(axes, row + 0.18, cell.worth.fitted, styles[cell.arm], filled=False)
    shown = [v for c in cells for x in (c.worth.interpolated, c.worth.fitted) for v in _values(x)]
    low, high = min(0.8, *shown) / 1.15, max(2.2, *shown) * 1.35
    axes.set_xlim(low, high)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.axvline(1.0, color=MUTED, linewidth=1.0)
    ticks = [t for t in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128) if low <= t <= high]
    log_ticks(axes.xaxis, ticks, lambda value: f"{value:g}x")
    axes.grid(axis="x")
    axes.set_yticks(range(len(cells)), [f"{c.arm}, {c.size:,}" for c in cells], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("times as many problems")
    return figure


def _values(worth: Worth) -> list[float]:
    return [v for v in (worth.factor, worth.low, worth.high) if v is not None]


def _worth_row(axes: Any, y: float, worth: Worth, style: ArmStyle, filled: bool) -> None:
    """Draw a factor with its interval; an end outside the measured range is an arrow."""
    if worth.factor is None:
        return
    ends = [worth.low, worth.high]
    x0, x1 = (worth.factor if end is None else end for end in ends)
    axes.plot([x0, x1], [y, y], color=style.colour, linewidth=1.6, alpha=0.6)
    if worth.relation == ">" or worth.high is None:
        _arrow(axes, max(worth.factor, x1), y, style, 18)
    if worth.relation == "<" or worth.low is None:
        _arrow(axes, min(worth.factor, x0), y, style, -18)
    axes.plot(
        [worth.factor], [y], style.marker, color=style.colour if filled else PAPER, markersize=7 if filled else 6,
        markeredgecolor=PAPER if filled else style.colour, markeredgewidth=0.8 if filled else 1.5, zorder=3,
    )  # fmt: skip


def _arrow(axes: Any, x: float, y: float, style: ArmStyle, points: float) -> None:
    axes.annotate(
        "", (x, y), (points, 0), textcoords="offset points",
        arrowprops={"arrowstyle": "<-", "color": style.colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
