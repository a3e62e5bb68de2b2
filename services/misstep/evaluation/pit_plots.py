"""The plots of credit: pits by step, and Q by step."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from misstep.evaluation import wording as w
from misstep.evaluation.examples import QByStep
from misstep.evaluation.results import Results
from misstep.evaluation.svg import INK, MUTED, Picture, new_axes, picture

_HEAT_ROWS = 12
_BLUE, _RED = "#1f6fb2", "#d55e00"
_SMALL = (4.1, 3.1)


def pit_picture(results: Results) -> Picture | None:
    """Draw the number of pits by step, over all credited negatives; None if there are no pits."""
    steps: dict[int, int] = {}
    for credit in results.credit:
        for step, count in credit.pit_steps.items():
            steps[step] = steps.get(step, 0) + count
    if not steps:
        return None
    return picture("pits", "Number of pits by step", lambda _: _pits(steps), both=False)


def q_picture(q: QByStep) -> Picture | None:
    """Draw mean Q by step for wrong solutions with the pit at the same step; None if Q was not estimated between a
    solution's ends."""
    if not q.has_inner:
        return None
    return picture("q", "Mean Q after each step, by the step of the pit", lambda _: _heat(q), both=False)


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
    """Format a value in [0, 1] with at most two characters."""
    text = f"{q:.1f}"
    return {"0.0": "0", "1.0": "1"}.get(text, text[1:])
