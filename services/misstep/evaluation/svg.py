"""Figures as SVG elements of a page: equal data give equal bytes; text stays text, and colours are those of the page.

The page's colours are drawn as placeholders and then replaced by CSS variables, so that a figure follows the page into
dark mode.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#101011", "#6a6a6b", "#d9d9da", "#fefefd"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "misstep",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Picture:
    """The same figure for wide and for narrow screens, as SVG elements for a page."""

    wide: str
    narrow: str | None
    """None if the wide one is narrow enough."""


def picture(name: str, label: str, draw: Callable[[bool], Figure], both: bool = True) -> Picture:
    """Draw a figure, for narrow screens too if ``both`` is set."""
    with settings(_STYLE):
        wide = _svg(draw(True), f"{name}-wide", label)
        return Picture(wide, _svg(draw(False), f"{name}-narrow", label) if both else None)


@contextmanager
def settings(style: Mapping[str, Any]) -> Iterator[None]:
    """Use matplotlib's defaults and a style, and ignore the user's matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style)
        yield


def file_text(figure: Figure) -> str:
    """Return a figure as an SVG file has it, without metadata. To be called within `settings`."""
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return out.getvalue()


def _svg(figure: Figure, name: str, label: str) -> str:
    """Write a figure as an SVG element without metadata, with its own ids and the page's colours and font."""
    text = file_text(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None  # matplotlib always writes it
    opening = (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {size[1]} {size[2]}" '
        f'style="max-width: {float(size[1]) * 4 / 3:.0f}px"'
    )
    return re.sub(r"<svg [^>]*", opening, text, count=1).strip()


def new_axes(figure: Figure) -> Any:
    """Add the one pair of axes of a figure, without a background."""
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, width=0.8)
    return axes
