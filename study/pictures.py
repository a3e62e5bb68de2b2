"""The study's pictures, as SVG files: equal figures give equal bytes. `make docs` writes them to `docs/study/`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from misstep.evaluation.estimates import Estimate
from misstep.evaluation.svg import file_text, settings
from study.design import DRAWN, EPOCH, LAYOUTS, LONG, ROUNDS, SHORT, Task, without_rule
from study.figures import Figures

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "misstep",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
_COLOURS = {
    "random": ("#d55e00", "s"),
    "teacher": ("#cc79a7", "v"),
    "placebo-cut": ("#8a6d3b", "X"),
    "whole-response": ("#56b4e9", "P"),
    "shared-prefix": ("#0072b2", "o"),
    "oracle-pit": ("#009e73", "D"),
    "rft": ("#e69f00", "^"),
    "adaptive": ("#d55e00", "D"),
}
"""Colours of Okabe and Ito's palette, which colour-blind readers can tell apart, and a marker for each line."""
_WIDTH, _HEIGHT = 4.4, 3.4
_BESIDE = 0.015
"""Lines stand beside one another by this share of x, so that their intervals can be told apart."""


@dataclass(frozen=True)
class Line:
    """One line of a panel: a value with its interval at some places."""

    name: str
    points: Mapping[float, Estimate]


def pictures(found: Figures) -> dict[str, str]:
    """Return every picture for which there are figures, by the name of its file."""
    made = {
        "pairs": _panels([_pairs(found, task) for task in (SHORT, LONG)]),
        "tokens": _panels([_tokens(found, task) for task in (SHORT, LONG)]),
        "strength": _panels([panel for task in (SHORT, LONG) for panel in _strength(found, task)]),
        "epochs": _panels([_epochs(found)]),
        "credit": _panels([_credit(found, task) for task in (SHORT, LONG)]),
        "rounds": _panels([_rounds(found)]),
        "choices": _choices(found),
        "gradients": _panels([_gradients(found, task) for task in (SHORT, LONG)]),
    }
    return {f"{name}.svg": text for name, text in made.items() if text}


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Args:
        ticks: of the x axis, which is logarithmic.
        level: a value that a horizontal line shows, and what it is.
    """

    title: str
    x: str
    ticks: Sequence[float]
    lines: Sequence[Line]
    level: tuple[float, str] | None = None
    y: str = "accuracy on test problems"
    percent: bool = True


def _accuracy(found: Figures, name: str, arm: str) -> Estimate | None:
    made = found.arm(name, arm)
    return made.accuracy if made else None


def _line(found: Figures, arm: str, places: Mapping[int, str] | Mapping[float, str]) -> Line:
    """Return an arm's line over Experiments, by their place on the x axis; what is missing is left out."""
    points = {x: value for x, name in places.items() if (value := _accuracy(found, name, arm)) is not None}
    return Line(arm, points)


def _sft(found: Figures, task: Task) -> tuple[float, str] | None:
    value = _accuracy(found, task.usual, "sft")
    return (value.value, "fine-tuning") if value else None


def _pairs(found: Figures, task: Task) -> Panel:
    lines = [_line(found, layout, task.by_count) for layout in LAYOUTS]
    return Panel(task.format, "pairs", task.counts, lines, _sft(found, task))


def _tokens(found: Figures, task: Task) -> Panel:
    lines = []
    for layout in LAYOUTS:
        arms = [found.arm(name, layout) for name in task.by_count.values()]
        lines.append(Line(layout, {arm.tokens: arm.accuracy for arm in arms if arm}))
    ticks = [5_000, 10_000, 20_000, 50_000, 100_000, 200_000]
    return Panel(task.format, "tokens trained on", ticks, lines, _sft(found, task))


def _strength(found: Figures, task: Task) -> list[Panel]:
    varied = {"beta": task.by_beta, "learning rate": task.by_rate}
    return [
        Panel(
            task.format,
            name,
            list(places),
            [_line(found, kind, places) for kind in ("random", "teacher", "shared-prefix")],
            _sft(found, task),
        )
        for name, places in varied.items()
        if len(places) > 1
    ]


def _epochs(found: Figures) -> Panel:
    places = SHORT.by_epoch
    rft = _line(found, "rft", places | {EPOCH: "choices"})
    lines = [rft, *(_line(found, kind, places) for kind in ("random", "shared-prefix"))]
    return Panel(SHORT.format, "epochs of the policy", list(places), lines)


def _credit(found: Figures, task: Task) -> Panel:
    places = task.by_rollouts
    lines = [_line(found, "shared-prefix", places)]
    if (value := _accuracy(found, f"{task.prefix}adaptive", "shared-prefix")) is not None:
        lines.append(Line("adaptive", {2.0: value}))
    oracle = _accuracy(found, task.usual, "oracle-pit")
    level = (oracle.value, "true first errors") if oracle else None
    return Panel(task.format, "rollouts of a prefix (adaptive: as needed)", list(places), lines, level)


def _rounds(found: Figures) -> Panel:
    arms = found.arms.get("rounds", {})
    lines = [
        Line(kind, {float(n): arms[f"{name}-{n}"].accuracy for n in (1, 2, 3) if f"{name}-{n}" in arms})
        for name, kind in ROUNDS.items()
    ]
    return Panel(SHORT.format, "round", (1, 2, 3), lines)


def _gradients(found: Figures, task: Task) -> Panel:
    of = found.gradients.get(task.format, {})
    lines = []
    for kind, seeds in of.items():
        points = {}
        for n in DRAWN:
            values = [seed[f"cosine_{n}"] for seed in seeds]
            points[float(n)] = Estimate(sum(values) / len(values), min(values), max(values))
        lines.append(Line(kind, points))
    y = "cosine with the direction of success"
    return Panel(task.format, "pairs", DRAWN, lines, y=y, percent=False)


def _panels(panels: Sequence[Panel]) -> str:
    """Draw panels side by side, two in a row, with one legend; empty if nothing is there to draw."""
    panels = [panel for panel in panels if any(line.points for line in panel.lines)]
    if not panels:
        return ""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel, one in zip(panels, axes.flat, strict=False):
            _draw(one, panel)
        for unused in axes.flat[len(panels) :]:
            unused.set_visible(False)
        handles: dict[str, Any] = {}
        for one in axes.flat[: len(panels)]:
            handles |= {label: handle for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)

    return _svg((_WIDTH * columns, _HEIGHT * rows + 0.6), draw)


def _draw(axes: Any, panel: Panel) -> None:
    axes.set_xscale("log")
    for number, line in enumerate(panel.lines):
        colour, marker = _COLOURS[line.name]
        beside = 1 + _BESIDE * (number - (len(panel.lines) - 1) / 2)
        x, values = [place * beside for place in line.points], list(line.points.values())
        if not x:
            continue
        y = [one.value for one in values]
        axes.vlines(
            x, [one.low for one in values], [one.high for one in values], color=colour, alpha=0.35, linewidth=1.2
        )
        axes.plot(x, y, marker=marker, color=colour, markersize=5, linewidth=1.4, label=line.name)
    if panel.level is not None:
        axes.axhline(panel.level[0], color="#6a6a6a", linewidth=1, linestyle="--", label=panel.level[1])
    axes.xaxis.set_major_locator(FixedLocator(panel.ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.5g}"))
    if panel.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    axes.grid(axis="y")
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)


def _choices(found: Figures) -> str:
    """Draw each rule's difference to the same arm without it."""
    arms = found.arms.get("choices", {})
    rows = []
    for name, arm in arms.items():
        base = without_rule(name)
        if name != "sft" and base in arm.against:
            rows.append((f"{name} (less {base})", arm.against[base]))
    if not rows:
        return ""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (_, value) in enumerate(reversed(rows)):
            axes.plot([value.low, value.high], [place, place], color="#0072b2", linewidth=1.4, alpha=0.5)
            axes.plot([value.value], [place], "o", color="#0072b2", markersize=5)
        axes.axvline(0, color="#6a6a6a", linewidth=1, linestyle="--")
        axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}"))
        axes.set_xlabel("accuracy, difference in points")
        axes.grid(axis="x")

    return _svg((_WIDTH * 1.6, 0.32 * len(rows) + 0.9), draw)


def _svg(size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    with settings(_STYLE):
        figure = Figure(size, layout="constrained", facecolor="white")
        draw(figure)
        text = file_text(figure)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
