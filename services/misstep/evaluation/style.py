"""The style of arms in plots and legends: each arm has a marker and a colour of Okabe and Ito's palette, whose colours
colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from misstep.evaluation.results import Results
from misstep.evaluation.svg import INK, VARIABLES

_SERIES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn, in plots and legends."""

    colour: str
    marker: str


def arm_styles(results: Results) -> dict[str, ArmStyle]:
    """Assign each arm a colour and a marker: the text colour to the yardstick, the others in order of appearance."""
    found = {}
    others = 0
    for arm in dict.fromkeys(c.arm for c in results.cells):
        if arm == results.yardstick:
            found[arm] = ArmStyle(INK, "o")
        else:
            # After all colours are used they repeat with other markers: up to sixteen arms look different.
            marker = others + others // len(_SERIES)
            found[arm] = ArmStyle(_SERIES[others % len(_SERIES)], _MARKERS[marker % len(_MARKERS)])
            others += 1
    return found


def css_colour(style: ArmStyle) -> str:
    """Return the colour for the page's style sheet."""
    return f"var({VARIABLES[style.colour]})" if style.colour in VARIABLES else style.colour


def log_ticks(axis: Any, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Put ticks at these values of a logarithmic axis, and nowhere else."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
