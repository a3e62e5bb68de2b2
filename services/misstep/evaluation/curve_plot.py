"""The report's pictures. Every arm has a colour of Okabe and Ito's palette, which colour-blind readers can tell apart,
and a marker of its own. Pictures that need the width are drawn for wide and for narrow screens, since text in a
scaled picture would be too small on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import offset_copy

from misstep.evaluation import wording as w
from misstep.evaluation.curve import falling
from misstep.evaluation.examples import QByStep
from misstep.evaluation.figures import Worth
from misstep.evaluation.results import Cell, Results
from misstep.evaluation.svg import INK, MUTED, PAPER, VARIABLES, Picture, new_axes, picture

_SERIES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_HEAT_ROWS = 12
_BLUE, _RED = "#1f6fb2", "#d55e00"
_SMALL = (4.1, 3.1)


@dataclass(frozen=True)
class Look:
    """How an arm is drawn, in pictures and in the page's legends."""

    colour: str
    marker: str


def looks(results: Results) -> dict[str, Look]:
    """Give each arm a colour and a marker: the yardstick the ink's, the others in order of appearance."""
    found = {}
    others = 0
    for arm in dict.fromkeys(c.arm for c in results.cells):
        if arm == results.yardstick:
            found[arm] = Look(INK, "o")
        else:
            found[arm] = Look(_SERIES[others % len(_SERIES)], _MARKERS[others % len(_MARKERS)])
            others += 1
    return found


def css_colour(look: Look) -> str:
    """Return the colour for the page's style sheet."""
    return f"var({VARIABLES[look.colour]})" if look.colour in VARIABLES else look.colour


def curve_picture(results: Results) -> Picture | None:
    """Draw error against problems for every arm, both axes logarithmic, with SFT's power law."""
    if not results.cells:
        return None
    label = "Test error against the number of training problems, for every arm"
    return picture("curve", label, lambda wide: _curve(results, (9.3, 5.0) if wide else (4.0, 4.4)))


def worth_picture(results: Results) -> Picture | None:
    """Draw the factors of every method with their intervals; None where there are none."""
    cells = [c for c in results.cells if _has_factor(c.worth.interpolated) or _has_factor(c.worth.fitted)]
    if not cells:
        return None
    height = 0.9 + 0.42 * len(cells)
    label = "How many times as many problems SFT needs for the same accuracy"
    return picture("worth", label, lambda wide: _worth(results, cells, (9.3, height) if wide else (4.0, height + 0.3)))


def pit_picture(results: Results) -> Picture | None:
    """Draw in which step pits lie, over all credited negatives; None where there are no pits."""
    steps: dict[int, int] = {}
    for credit in results.credit:
        for step, count in credit.pit_steps.items():
            steps[step] = steps.get(step, 0) + count
    if not steps:
        return None
    return picture("pits", "Number of pits by step", lambda _: _pits(steps), both=False)


def q_picture(q: QByStep) -> Picture | None:
    """Draw mean Q by step for wrong solutions with the pit at the same step; None where there are no pits."""
    if not q.counts:
        return None
    return picture("q", "Mean Q after each step, by the step of the pit", lambda _: _heat(q), both=False)


# Error against problems


def _curve(results: Results, size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    axes.set_yscale("log")
    styles = looks(results)
    sizes = results.sizes
    left, right = min(sizes), max(sizes)
    if results.fit is not None:
        _fit_line(axes, results)
    ends: list[tuple[Cell, float, float]] = []
    offsets = _dodge(results)
    for arm, look in styles.items():
        cells = [c for c in results.cells if c.arm == arm]
        x = [c.size * offsets[arm] for c in cells]
        y = [_shown(results, 1 - c.accuracy.value) for c in cells]
        low = [_shown(results, 1 - c.accuracy.high) for c in cells]
        high = [_shown(results, 1 - c.accuracy.low) for c in cells]
        axes.vlines(x, low, high, color=look.colour, linewidth=1.4, alpha=0.55)
        axes.plot(
            x, y, look.marker, linestyle="-" if len(x) > 1 else "none", color=look.colour, markersize=6.5,
            linewidth=1.6, markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
        ends.append((cells[-1], x[-1], y[-1]))
    room = (right / left) ** 0.5 if right > left else 2.0
    axes.set_xlim(left / 1.25, right * max(1.6, room if size[0] < 5 else room**0.75))
    lows = [_shown(results, 1 - c.accuracy.high) for c in results.cells]
    highs = [_shown(results, 1 - c.accuracy.low) for c in results.cells]
    axes.set_ylim(min(lows) / 1.06, min(1.0, max(highs) * 1.06) if max(highs) < 1 else 1.03)
    _log_ticks(axes.xaxis, sizes, lambda value: f"{value:,.0f}")
    _log_ticks(axes.yaxis, _error_ticks(*axes.get_ylim()), lambda value: f"{100 * value:.3g}%")
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
    """Return a factor per arm that moves its points aside a little, so that intervals do not cover each other."""
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


def _log_ticks(axis: Any, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _label_ends(
    axes: Any, ends: list[tuple[Cell, float, float]], styles: dict[str, Look], size: tuple[float, float]
) -> None:
    """Write each arm's name right of its last point; names of points at one size are moved apart."""
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
    """Move rising positions apart to at least ``gap``, each as little as can be, within bounds if there is room."""
    level = falling([i * gap - value for i, value in enumerate(wanted)], [1.0] * len(wanted))
    top = high - gap * (len(wanted) - 1)
    return [max(low, min(top, -value)) + i * gap for i, value in enumerate(level)]


# Factors


def _has_factor(worth: Worth) -> bool:
    return worth.relation is not None


def _worth(results: Results, cells: Sequence[Cell], size: tuple[float, float]) -> Figure:
    figure = Figure(size, layout="constrained")
    axes = new_axes(figure)
    axes.set_xscale("log")
    styles = looks(results)
    for row, cell in enumerate(cells):
        _worth_row(axes, row - 0.14, cell.worth.interpolated, styles[cell.arm], filled=True)
        _worth_row(axes, row + 0.18, cell.worth.fitted, styles[cell.arm], filled=False)
    shown = [v for c in cells for x in (c.worth.interpolated, c.worth.fitted) for v in _values(x)]
    low, high = min(0.8, *shown) / 1.15, max(2.2, *shown) * 1.35
    axes.set_xlim(low, high)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.axvline(1.0, color=MUTED, linewidth=1.0)
    ticks = [t for t in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128) if low <= t <= high]
    _log_ticks(axes.xaxis, ticks, lambda value: f"{value:g}x")
    axes.grid(axis="x")
    axes.set_yticks(range(len(cells)), [f"{c.arm}, {c.size:,}" for c in cells], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("times as many problems")
    return figure


def _values(worth: Worth) -> list[float]:
    return [v for v in (worth.factor, worth.low, worth.high) if v is not None]


def _worth_row(axes: Any, y: float, worth: Worth, look: Look, filled: bool) -> None:
    """Draw a factor with its interval; an end that lies beyond what was measured is an arrow."""
    if worth.factor is None:
        return
    ends = [worth.low, worth.high]
    x0, x1 = (worth.factor if end is None else end for end in ends)
    axes.plot([x0, x1], [y, y], color=look.colour, linewidth=1.6, alpha=0.6)
    if worth.relation == ">" or worth.high is None:
        _arrow(axes, max(worth.factor, x1), y, look, 18)
    if worth.relation == "<" or worth.low is None:
        _arrow(axes, min(worth.factor, x0), y, look, -18)
    axes.plot(
        [worth.factor], [y], look.marker, color=look.colour if filled else PAPER, markersize=7 if filled else 6,
        markeredgecolor=PAPER if filled else look.colour, markeredgewidth=0.8 if filled else 1.5, zorder=3,
    )  # fmt: skip


def _arrow(axes: Any, x: float, y: float, look: Look, points: float) -> None:
    axes.annotate(
        "", (x, y), (points, 0), textcoords="offset points",
        arrowprops={"arrowstyle": "<-", "color": look.colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip


# Pits


def _pits(steps: dict[int, int]) -> Figure:
    figure = Figure(_SMALL, layout="constrained")
    axes = new_axes(figure)
    last = min(max(steps), _HEAT_ROWS)
    counts = [steps.get(i, 0) for i in range(1, last)]
    counts.append(sum(count for step, count in steps.items() if step >= last))
    bars = axes.bar(range(1, last + 1), counts, width=0.78, color=_RED, alpha=0.85)
    total = sum(counts)
    for bar, count in zip(bars, counts, strict=True):
        axes.annotate(
            f"{100 * count / total:.0f}%", (bar.get_x() + bar.get_width() / 2, count), (0, 3),
            textcoords="offset points", ha="center", fontsize=9, color=INK,
        )  # fmt: skip
    names = [str(i) for i in range(1, last + 1)]
    if max(steps) > last:
        names[-1] += "+"
    axes.set_xticks(range(1, last + 1), names)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("step of the pit")
    axes.set_title(w.counted(total, "pit"), loc="left", fontsize=10, color=MUTED, pad=10)
    return figure


def _heat(q: QByStep) -> Figure:
    figure = Figure(_SMALL, layout="constrained")
    axes = new_axes(figure)
    pits = [p for p in sorted({pit for pit, _ in q.counts}) if p <= _HEAT_ROWS]
    columns = min(_HEAT_ROWS, max(step for pit, step in q.counts if pit in pits)) + 1
    for row, pit in enumerate(pits):
        for step in range(columns):
            mean = q.mean(pit, step)
            if mean is None:
                continue
            shade = 0.08 + 0.87 * mean  # a transparent blue suits light and dark pages alike
            axes.add_patch(Rectangle((step - 0.47, row - 0.46), 0.94, 0.92, color=_BLUE, alpha=shade, linewidth=0))
            axes.text(
                step, row, _short(mean), ha="center", va="center", fontsize=8,
                color="#ffffff" if mean > 0.5 else INK,
            )  # fmt: skip
        axes.plot([pit - 0.5] * 2, [row - 0.46, row + 0.46], color=_RED, linewidth=2.5, solid_capstyle="butt")
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(len(pits) - 0.4, -0.6)
    axes.set_xticks(range(columns))
    axes.set_yticks(range(len(pits)), [str(p) for p in pits])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("mean Q after so many steps")
    axes.set_ylabel("pit at step")
    return figure


def _short(q: float) -> str:
    """Write a value in [0, 1] in two signs at most."""
    text = f"{q:.1f}"
    return {"0.0": "0", "1.0": "1"}.get(text, text[1:])
