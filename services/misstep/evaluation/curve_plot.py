"""The plot of error against problems. Wide plots are drawn for wide and for narrow screens, since text in a scaled plot
would be too small on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from misstep.evaluation.curve import falling
from misstep.evaluation.estimates import Estimate, Fit
from misstep.evaluation.results import Results
from misstep.evaluation.style import ArmStyle, arm_styles, log_ticks, marker_look
from misstep.evaluation.svg import INK, MUTED, Picture, new_axes, picture


@dataclass(frozen=True)
class Curve:
    """One line of the plot: an arm's accuracy at its sizes, in rising order."""

    name: str
    """Written at the line's end."""
    style: ArmStyle
    sizes: tuple[int, ...]
    accuracies: tuple[Estimate, ...]
    fit: Fit | None = None
    """Its power law, drawn as a band."""
    yardstick: bool = False
    """Its points stand exactly at their sizes; those of other curves stand beside them."""


def curve_picture(results: Results) -> Picture | None:
    """Draw error against problems for every arm, both axes logarithmic, with SFT's power law."""
    if not results.cells:
        return None
    label = "Test error against the number of training problems, for every arm"
    return curves_picture("curve", label, curves_of(results, arm_styles(results)), results.test_problems)


def curves_of(results: Results, styles: Mapping[str, ArmStyle]) -> list[Curve]:
    """Return one curve for each arm."""
    found = []
    for arm, style in styles.items():
        cells = [c for c in results.cells if c.arm == arm]
        yardstick = arm == results.yardstick
        found.append(
            Curve(
                arm,
                style,
                tuple(c.size for c in cells),
                tuple(c.accuracy for c in cells),
                results.fit if yardstick else None,
                yardstick,
            )
        )
    return found


def curves_picture(name: str, label: str, curves: Sequence[Curve], test_problems: int) -> Picture:
    """Draw error against problems, both axes logarithmic.

    Args:
        label: what the picture shows, for those who do not see it.
        test_problems: an error of zero is drawn as half of one.
    """
    least = 0.5 / max(1, test_problems)
    more = 0.16 * max(0, len(curves) - 8)  # names at the lines' ends need height
    return picture(name, label, lambda wide: _draw(curves, least, (9.3, 5.0 + more) if wide else (4.0, 4.4 + more)))


def _draw(curves: Sequence[Curve], least: float, size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({size for curve in curves for size in curve.sizes})
    left, right = sizes[0], sizes[-1]
    ends: list[_End] = []
    offsets = _dodge(curves, sizes)
    for curve, offset in zip(curves, offsets, strict=True):
        if curve.fit is not None:
            _fit_line(axes, curve.fit)
        style = curve.style
        x = [size * offset for size in curve.sizes]
        y = [max(least, 1 - a.value) for a in curve.accuracies]
        low = [max(least, 1 - a.high) for a in curve.accuracies]
        high = [max(least, 1 - a.low) for a in curve.accuracies]
        axes.vlines(x, low, high, color=style.colour, linewidth=1.4, alpha=0.55)
        axes.plot(
            x, y, style.marker, linestyle=style.dashes if len(x) > 1 else "none", color=style.colour,
            linewidth=1.6, zorder=3, **marker_look(style, 6.5),
        )  # fmt: skip
        ends.append(_End(curve, x[-1], y[-1]))
    room = (right / left) ** 0.5 if right > left else 2.0
    axes.set_xlim(left / 1.25, right * max(1.6, room if size[0] < 5 else room**0.75))
    lows = [max(least, 1 - a.high) for curve in curves for a in curve.accuracies]
    highs = [max(least, 1 - a.low) for curve in curves for a in curve.accuracies]
    axes.set_ylim(min(lows) / 1.06, min(1.0, max(highs) * 1.06) if max(highs) < 1 else 1.03)
    log_ticks(axes.xaxis, sizes, lambda value: f"{value:,.0f}")
    log_ticks(axes.yaxis, _error_ticks(*axes.get_ylim()), lambda value: f"{100 * value:.3g}%")
    axes.grid(axis="y")
    axes.set_xlabel("training problems D")
    axes.set_title("test error (1 − pass@1)", loc="left", fontsize=10, color=MUTED, pad=8)
    _label_ends(axes, ends, size)
    return figure


def _fit_line(axes: Any, fit: Fit) -> None:
    first, last = fit.sizes[0], fit.sizes[-1]
    for x0, x1, dashes in ((first, last, "-"), (last, 2 * last, (0, (2, 2)))):
        axes.plot(
            [x0, x1], [fit.a * x0**-fit.b.value, fit.a * x1**-fit.b.value],
            color=MUTED, linewidth=5 if dashes == "-" else 1.5, alpha=0.28 if dashes == "-" else 0.7,
            linestyle=dashes, zorder=1,
        )  # fmt: skip


def _dodge(curves: Sequence[Curve], sizes: Sequence[int]) -> list[float]:
    """Return a factor per curve that shifts its points a little, so that intervals do not cover each other."""
    others = sum(not curve.yardstick for curve in curves)
    span = math.log(sizes[-1] / sizes[0]) if len(sizes) > 1 else math.log(2)
    step = 0.012 * span
    middle = (others - 1) / 2
    places = iter(range(others))
    return [1.0 if curve.yardstick else math.exp(step * (next(places) - middle)) for curve in curves]


def _error_ticks(low: float, high: float) -> list[float]:
    for steps in ((0.1, 0.2, 0.5), (0.1, 0.2, 0.3, 0.5, 0.7), tuple(i / 10 for i in range(1, 10))):
        ticks = [m * 10.0**e for e in range(-4, 1) for m in (*steps, 1.0) if low <= m * 10.0**e <= high]
        if len(set(ticks)) >= 4:
            return sorted(set(ticks))
    return [t / 100 for t in range(5, 101, 5 if high - low > 0.15 else 1) if low <= t / 100 <= high]


class _End(NamedTuple):
    """The last point of a curve, in the axes' units."""

    curve: Curve
    x: float
    y: float


def _label_ends(axes: Any, ends: Sequence[_End], size: tuple[float, float]) -> None:
    """Write each curve's name to the right of its last point; names of points at one size are moved apart."""
    low, high = (math.log(v) for v in axes.get_ylim())
    gap = (high - low) * 15 / (72 * (size[1] - 0.9))  # 15 points of the axes' height
    for group in {end.curve.sizes[-1] for end in ends}:
        members = sorted((e for e in ends if e.curve.sizes[-1] == group), key=lambda e: (e.y, e.curve.name))
        at = _spread([math.log(end.y) for end in members], gap, low + gap / 2, high)
        right = max(end.x for end in members)
        for end, height in zip(members, at, strict=True):
            label = axes.annotate(
                end.curve.name, (end.x, end.y), (right, math.exp(height)), fontsize=9.5, va="center",
                textcoords=offset_copy(axes.transData, fig=axes.figure, x=14, units="points"),
                color=INK, annotation_clip=False, zorder=4,
                arrowprops={
                    "arrowstyle": "-", "color": end.curve.style.colour, "linewidth": 0.8,
                    "shrinkA": 2, "shrinkB": 5,
                },
            )  # fmt: skip
            label.set_gid(f"halo-{ends.index(end)}")


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising positions apart to at least ``gap``, each as little as possible, within bounds if there is room."""
    level = falling([i * gap - value for i, value in enumerate(wanted)], [1.0] * len(wanted))
    top = high - gap * (len(wanted) - 1)
    return [max(low, min(top, -value)) + i * gap for i, value in enumerate(level)]
