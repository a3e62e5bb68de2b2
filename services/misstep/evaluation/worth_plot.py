"""The plot of factors: how many times as many problems SFT needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from misstep.evaluation.estimates import CellWorth, Worth
from misstep.evaluation.results import Results
from misstep.evaluation.style import ArmStyle, arm_styles, log_ticks, marker_look
from misstep.evaluation.svg import INK, MUTED, Picture, new_axes, picture


@dataclass(frozen=True)
class WorthRow:
    """One row of the plot."""

    name: str
    worth: CellWorth
    style: ArmStyle

    @property
    def known(self) -> bool:
        """Whether there is a factor to draw."""
        return self.worth.interpolated.relation is not None or self.worth.fitted.relation is not None


def worth_picture(results: Results) -> Picture | None:
    """Draw the factors of every method with their intervals; None if there are none."""
    styles = arm_styles(results)
    label = "How many times as many problems SFT needs for the same accuracy"
    rows = [WorthRow(f"{c.arm}, {c.size:,}", c.worth, styles[c.arm]) for c in results.cells]
    return rows_picture("worth", label, rows)


def rows_picture(name: str, label: str, rows: Sequence[WorthRow]) -> Picture | None:
    """Draw factors with their intervals, one below another; rows without a factor are left out, and None is returned
    if no row has one."""
    known = [row for row in rows if row.known]
    if not known:
        return None
    height = 0.9 + 0.42 * len(known)
    return picture(name, label, lambda wide: _worth(known, (9.3, height) if wide else (4.0, height + 0.3)))


def _worth(rows: Sequence[WorthRow], size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    for at, row in enumerate(rows):
        _worth_row(axes, at - 0.14, row.worth.interpolated, row.style)
        _worth_row(axes, at + 0.18, row.worth.fitted, replace(row.style, fill="none"))
    shown = [v for row in rows for x in (row.worth.interpolated, row.worth.fitted) for v in _values(x)]
    low, high = min(0.8, *shown) / 1.15, max(2.2, *shown) * 1.35
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(1.0, color=MUTED, linewidth=1.0)
    ticks = [t for t in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128) if low <= t <= high]
    log_ticks(axes.xaxis, ticks, lambda value: f"{value:g}x")
    axes.grid(axis="x")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("times as many problems")
    return figure


def _values(worth: Worth) -> list[float]:
    return [v for v in (worth.factor, worth.low, worth.high) if v is not None]


def _worth_row(axes: Any, y: float, worth: Worth, style: ArmStyle) -> None:
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
    size = 6.5 if style.fill == "none" else 7
    axes.plot([worth.factor], [y], style.marker, color=style.colour, zorder=3, **marker_look(style, size))


def _arrow(axes: Any, x: float, y: float, style: ArmStyle, points: float) -> None:
    axes.annotate(
        "", (x, y), (points, 0), textcoords="offset points",
        arrowprops={"arrowstyle": "<-", "color": style.colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
