"""Write the page of a comparison: one file without scripts, safe against any text in it.

Equal arguments give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from misstep.comparison.compared import LETTERS, Compared, differences, rows_of
from misstep.comparison.fairness import warnings
from misstep.comparison.looks import experiment_colours, styles_of
from misstep.evaluation import wording as w
from misstep.evaluation.curve_plot import curves_of, curves_picture
from misstep.evaluation.estimates import Worth
from misstep.evaluation.safe_page import environment, style
from misstep.evaluation.svg import Picture
from misstep.evaluation.worth_plot import WorthRow, rows_picture
from misstep.printable import printable

_LONGEST_NAME = 40


def comparison_page(compared: Sequence[Compared]) -> str:
    """Return the page.

    Args:
        compared: two to ``MOST`` Experiments with different names.
    """
    different, same = differences(compared)
    rows = rows_of(compared)
    template = environment("misstep.comparison").get_template("comparison.html.j2")
    return template.render(
        css=style(),
        w=w,
        compared=list(zip(LETTERS, compared, experiment_colours(), strict=False)),
        title=w.listed([one.name for one in compared]),
        facts=_facts(compared),
        warnings=warnings(compared, different),
        different=different,
        same=same,
        known=all(one.settings is not None for one in compared),
        rows=rows,
        methods=[row for row in rows if row.method != "sft"],
        extrapolated=any(
            worth.extrapolated
            for row in rows
            for cell in row.cells
            if cell is not None
            for worth in (cell.worth.interpolated, cell.worth.fitted)
        ),
        pictures={"curve": _curves(compared), "worth": _worth(compared)},
    )


def _facts(compared: Sequence[Compared]) -> list[str]:
    tests = sorted({one.results.test_problems for one in compared})
    facts = [w.counted(len(compared), "experiment")]
    facts.append(f"{w.span(tests[0], tests[-1])} test problem{'' if tests[-1] == 1 else 's'}")
    seeds = sorted({len(one.results.seeds) for one in compared})
    return [*facts, f"{w.span(seeds[0], seeds[-1])} seed{'' if seeds[-1] == 1 else 's'}"]


def _curves(compared: Sequence[Compared]) -> Picture | None:
    if not any(one.results.cells for one in compared):
        return None
    styles = styles_of(compared)
    curves = [
        replace(curve, name=f"{letter} {_short(curve.name)}")
        for letter, one, of in zip(LETTERS, compared, styles, strict=False)
        for curve in curves_of(one.results, of)
    ]
    fewest = min(one.results.test_problems for one in compared)
    return curves_picture("curves", "Test error against the number of training problems, in each", curves, fewest)


def _worth(compared: Sequence[Compared]) -> Picture | None:
    styles = styles_of(compared)
    rows = [
        WorthRow(
            f"{LETTERS[index]} {_short(row.arm)}, {row.size:,}",
            replace(cell.worth, fitted=Worth()),  # the filling of markers already says which experiment it is
            styles[index][row.arm],
        )
        for row in rows_of(compared)
        for index, cell in enumerate(row.cells)
        if cell is not None and row.method != "sft"
    ]
    return rows_picture("worths", "How many times as many problems SFT needs for the same accuracy, in each", rows)


def _short(name: str) -> str:
    """Return an arm's name for a picture, where a long one would leave no room."""
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
