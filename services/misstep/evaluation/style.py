"""The style of arms in plots and legends: each arm has a marker and a colour of Okabe and Ito's palette, whose colours
colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from misstep.evaluation.results import Results
from misstep.evaluation.svg import INK, PAPER, VARIABLES

SERIES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")


Dashes = str | tuple[int, tuple[int, ...]]
"""A line style of matplotlib: ``-``, or an offset and the lengths of dashes and gaps in line widths."""


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn, in plots and legends."""

    colour: str
    marker: str
    fill: str = "full"
    """The part of the marker that has the colour, as matplotlib names it: ``none`` is a hollow marker."""
    dashes: Dashes = "-"
    """How lines are drawn."""


def arm_styles(results: Results) -> dict[str, ArmStyle]:
    """Assign each arm a colour and a marker: the text colour to the yardstick, the others in order of appearance."""
    found = {}
    others = 0
    for arm in dict.fromkeys(c.arm for c in results.cells):
        if arm == results.yardstick:
            found[arm] = ArmStyle(INK, "o")
        else:
            # After all colours are used they repeat with other markers: up to sixteen arms look different.
            marker = others + others // len(SERIES)
            found[arm] = ArmStyle(SERIES[others % len(SERIES)], MARKERS[marker % len(MARKERS)])
            others += 1
    return found


def marker_look(style: ArmStyle, size: float) -> dict[str, Any]:
    """Return matplotlib's arguments for the markers of a line: a whole marker has a rim of the paper's colour, others
    one of their own."""
    whole = style.fill == "full"
    return {
        "fillstyle": "full" if style.fill == "none" else style.fill,
        "markersize": size if whole else size - 0.5,
        "markerfacecolor": PAPER if style.fill == "none" else style.colour,
        "markerfacecoloralt": PAPER,
        "markeredgecolor": PAPER if whole else style.colour,
        "markeredgewidth": 0.8 if whole else 1.5,
    }


def css_colour(style: ArmStyle) -> str:
    """Return the colour for the page's style sheet."""
    return f"var({VARIABLES[style.colour]})" if style.colour in VARIABLES else style.colour


def log_ticks(axis: Any, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Put ticks at these values of a logarithmic axis, and nowhere else."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
