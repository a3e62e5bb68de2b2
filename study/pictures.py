"""The study's pictures, as SVG files: equal figures give equal bytes. `make docs` writes them to `docs/study/`."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from misstep.evaluation.estimates import Estimate
from study.design import BETA, DRAWN, EPOCH, LAYOUTS, LONG, PAIRS, RATE, ROLLOUTS, SHORT, Task, written
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
    "step": ("#0072b2", "o"),
    "adaptive": ("#d55e00", "D"),
}
"""Colours of Okabe and Ito's palette, which colour-blind readers can tell apart, and a marker for each line."""
_WIDTH, _HEIGHT = 4.4, 3.4
_BESIDE = 0.015
"""Lines stand beside one another by this share of x, so that their intervals can be told apart."""
_TITLES = {SHORT.format: "strides", LONG.format: "long-strides"}


@dataclass(frozen=True)
class Line:
    """One line of a panel: a value with its interval at some places."""

    name: str
    points: Mapping[float, Estimate]
    label: str = ""


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
    made = found.arms.get(name, {}).get(arm)
    return made.accuracy if made else None


def _line(found: Figures, arm: str, places: Mapping[float, str]) -> Line:
    """Return an arm's line over Experiments, by their place on the x axis; what is missing is left out."""
    points = {x: value for x, name in places.items() if (value := _accuracy(found, name, arm)) is not None}
    return Line(arm, points)


def _sft(found: Figures, task: Task) -> tuple[float, str] | None:
    value = _accuracy(found, f"{task.prefix}pairs-{PAIRS}", "sft")
    return (value.value, "fine-tuning") if value else None


def _pairs(found: Figures, task: Task) -> Panel:
    places = {float(n): f"{task.prefix}pairs-{n}" for n in task.counts}
    lines = [_line(found, layout, places) for layout in LAYOUTS]
    return Panel(_TITLES[task.format], "pairs", task.counts, lines, _sft(found, task))


def _tokens(found: Figures, task: Task) -> Panel:
    lines = []
    for layout in LAYOUTS:
        arms = [found.arms.get(f"{task.prefix}pairs-{n}", {}).get(layout) for n in task.counts]
        lines.append(Line(layout, {arm.tokens: arm.accuracy for arm in arms if arm}))
    ticks = [5_000, 10_000, 20_000, 50_000, 100_000, 200_000]
    return Panel(_TITLES[task.format], "tokens trained on", ticks, lines, _sft(found, task))


def _strength(found: Figures, task: Task) -> list[Panel]:
    usual = f"{task.prefix}pairs-{PAIRS}"
    betas = {beta: f"{task.prefix}beta-{written(beta)}" for beta in task.betas} | {BETA: usual}
    rates = {rate: f"{task.prefix}rate-{written(rate)}" for rate in task.rates} | {RATE: usual}
    kinds = ("random", "teacher", "shared-prefix")
    made = []
    for name, places in (("beta", betas), ("learning rate", rates)):
        ticks = sorted(places)
        if len(ticks) == 1:
            continue
        lines = [_line(found, kind, {x: places[x] for x in ticks}) for kind in kinds]
        made.append(Panel(_TITLES[task.format], name, ticks, lines, _sft(found, task)))
    return made


def _epochs(found: Figures) -> Panel:
    places = {float(EPOCH): f"pairs-{PAIRS}"} | {float(epoch): f"epoch-{epoch}" for epoch in SHORT.epochs}
    kinds = ("rft", "random", "shared-prefix")
    lines = [_line(found, kind, places) for kind in kinds]
    if (rft := _accuracy(found, "choices", "rft")) is not None:
        lines[0] = Line("rft", {float(EPOCH): rft} | dict(lines[0].points))
    return Panel(_TITLES[SHORT.format], "epochs of the policy", sorted(places), lines)


def _credit(found: Figures, task: Task) -> Panel:
    places = {float(ROLLOUTS): f"{task.prefix}pairs-{PAIRS}"}
    places |= {float(n): f"{task.prefix}rollouts-{n}" for n in task.rollouts}
    ticks = sorted(places)
    lines = [_line(found, "shared-prefix", {x: places[x] for x in ticks})]
    if (value := _accuracy(found, f"{task.prefix}adaptive", "shared-prefix")) is not None:
        lines.append(Line("adaptive", {2.0: value}))
    oracle = _accuracy(found, f"{task.prefix}pairs-{PAIRS}", "oracle-pit")
    level = (oracle.value, "true first errors") if oracle else None
    return Panel(_TITLES[task.format], "rollouts of a prefix (adaptive: as needed)", ticks, lines, level)


def _rounds(found: Figures) -> Panel:
    arms = found.arms.get("rounds", {})
    lines = [
        Line(kind, {float(n): arms[f"{kind}-{n}"].accuracy for n in (1, 2, 3) if f"{kind}-{n}" in arms}, label)
        for kind, label in (("step", "shared-prefix"), ("random", "random"), ("rft", "rft"))
    ]
    return Panel(_TITLES[SHORT.format], "round", (1, 2, 3), lines)


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
    return Panel(_TITLES[task.format], "pairs", DRAWN, lines, y=y, percent=False)


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
        axes.plot(x, y, marker=marker, color=colour, markersize=5, linewidth=1.4, label=line.label or line.name)
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
    usual = {"rft-filtered": "rft"}
    rows = []
    for name, arm in arms.items():
        base = usual.get(name) or ("random" if name.startswith(("random", "edit")) else "shared-prefix")
        if name not in ("sft", "rft", base) and base in arm.against:
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
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(size, layout="constrained", facecolor="white")
        draw(figure)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return re.sub(r"[ \t]+$", "", out.getvalue(), flags=re.MULTILINE)
