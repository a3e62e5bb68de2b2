"""The plot of error against problems. Wide plots are drawn for wide and for narrow screens, since text in a scaled plot
would be too small on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from misstep.evaluation.curve import falling
from misstep.evaluation.results import Cell, Results
from misstep.evaluation.style import ArmStyle, arm_styles, log_ticks
from misstep.evaluation.svg import INK, MUTED, PAPER, Picture, new_axes, picture


def curve_picture(results: Results) -> Picture | None:
    """Draw error against problems for every arm, both axes logarithmic, with SFT's power law."""
    if not results.cells:
        return None
    label = "Test error against the number of training problems, for every arm"
    return picture("curve", label, lambda wide: _curve(results, (9.3, 5.0) if wide else (4.0, 4.4)))


def _curve(results: Results, size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    axes.set_yscale("log")
    styles = arm_styles(results)
    sizes = results.sizes
    left, right = min(sizes), max(sizes)
    if results.fit is not None:
        _fit_line(axes, results)
    ends: list[tuple[Cell, float, float]] = []
    offsets = _dodge(results)
    for arm, style in styles.items():
        cells = [c for c in results.cells if c.arm == arm]
        x = [c.size * offsets[arm] for c in cells]
        y = [_shown(results, 1 - c.accuracy.value) for c in cells]
        low = [_shown(results, 1 - c.accuracy.high) for c in cells]
        high = [_shown(results, 1 - c.accuracy.low) for c in cells]
        axes.vlines(x, low, high, color=style.colour, linewidth=1.4, alpha=0.55)
        axes.plot(
            x, y, style.marker, linestyle="-" if len(x) > 1 else "none", color=style.colour, markersize=6.5,
            linewidth=1.6, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
        ends.append((cells[-1], x[-1], y[-1]))
    room = (right / left) ** 0.5 if right > left else 2.0
    axes.set_xlim(left / 1.25, right * max(1.6, room if size[0] < 5 else room**0.75))
    lows = [_shown(results, 1 - c.accuracy.high) for c in results.cells]
    highs = [_shown(results, 1 - c.accuracy.low) for c in results.cells]
    axes.set_ylim(min(lows) / 1.06, min(1.0, max(highs) * 1.06) if max(highs) < 1 else 1.03)
    log_ticks(axes.xaxis, sizes, lambda value: f"{value:,.0f}")
    log_ticks(axes.yaxis, _error_ticks(*axes.get_ylim()), lambda value: f"{100 * value:.3g}%")
    axes.grid(axis="y")
    axes.set_xlabel("training problems D")
    axes.set_title("test error (1 − pass@1)", loc="left", fontsize=10, color=MUTED, pad=8)
    _label_ends(axes, ends, styles, size)
    return figure


def _fit_line(axes: Any, results: Results) -> None:
    assert results.fit is not None
    fit = results.fit
    first, last = fit.sizes[0], fit.sizes[-1]
    for x0, x1, dashes in ((first, last, "-"), (last, 2 * last, (0, (2, 2)))):
        axes.plot(
            [x0, x1], [fit.a * x0**-fit.b.value, fit.a * x1**-fit.b.value],
            color=MUTED, linewidth=5 if dashes == "-" else 1.5, alpha=0.28 if dashes == "-" else 0.7,
            linestyle=dashes, zorder=1,
        )  # fmt: skip


def _dodge(results: Results) -> dict[str, float]:
    """Return a factor per arm that shifts its points a little, so that intervals do not cover each other."""
    others = [a for a in dict.fromkeys(c.arm for c in results.cells) if a != results.yardstick]
    span = math.log(max(results.sizes) / min(results.sizes)) if len(results.sizes) > 1 else math.log(2)
    step = 0.012 * span
    middle = (len(others) - 1) / 2
    return {results.yardstick or "": 1.0} | {a: math.exp(step * (i - middle)) for i, a in enumerate(others)}


def _shown(results: Results, error: float) -> float:
    """Return an error that a logarithmic axis can show: at least half a problem's."""
    return max(error, 0.5 / max(1, results.test_problems))


def _error_ticks(low: float, high: float) -> list[float]:
    for steps in ((0.1, 0.2, 0.5), (0.1, 0.2, 0.3, 0.5, 0.7), tuple(i / 10 for i in range(1, 10))):
        ticks = [m * 10.0**e for e in range(-4, 1) for m in (*steps, 1.0) if low <= m * 10.0**e <= high]
        if len(set(ticks)) >= 4:
            return sorted(set(ticks))
    return [t / 100 for t in range(5, 101, 5 if high - low > 0.15 else 1) if low <= t / 100 <= high]


def _label_ends(
    axes: Any, ends: list[tuple[Cell, float, float]], styles: dict[str, ArmStyle], size: tuple[float, float]
) -> None:
    """Write each arm's name to the right of its last point; names of points at one size are moved apart."""
    low, high = (math.log(v) for v in axes.get_ylim())
    gap = (high - low) * 15 / (72 * (size[1] - 0.9))  # 15 points of the axes' height
    for group in {c.size for c, _, _ in ends}:
        members = sorted((e for e in ends if e[0].size == group), key=lambda e: (e[2], e[0].arm))
        at = _spread([math.log(y) for _, _, y in members], gap, low + gap / 2, high)
        right = max(x for _, x, _ in members)
        for (cell, x, y), height in zip(members, at, strict=True):
            label = axes.annotate(
                cell.arm, (x, y), (right, math.exp(height)), fontsize=9.5, va="center",
                textcoords=offset_copy(axes.transData, fig=axes.figure, x=14, units="points"),
                color=INK, annotation_clip=False, zorder=4,
                arrowprops={
                    "arrowstyle": "-", "color": styles[cell.arm].colour, "linewidth": 0.8,
                    "shrinkA": 2, "shrinkB": 5,
                },
            )  # fmt: skip
            label.set_gid(f"halo-{list(styles).index(cell.arm)}")


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising positions apart to at least ``gap``, each as little as possible, within bounds if there is room."""
    level = falling([i * gap - value for i, value in enumerate(wanted)], [1.0] * len(wanted))
    top = high - gap * (len(wanted) - 1)
    return [max(low, min(top, -value)) + i * gap for i, value in enumerate(level)]
