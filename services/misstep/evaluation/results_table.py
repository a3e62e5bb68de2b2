"""Results as tables: ``results.csv``, and the lines that a finished run prints. No heavy libraries, like
``results.py``."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

from misstep.evaluation import wording
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.results import DECIMALS, Answers, Cell, Point, Results


class SummaryRow(NamedTuple):
    """One line of the table at the end of a run, ready to print."""

    arm: str
    size: str
    accuracy: str
    error_ratio: str
    interpolated: str
    fitted: str


def summary_rows(results: Results) -> list[SummaryRow]:
    """Return the result table as text: accuracy with half its interval, error ratio, and both factors.

    A dash means that there is no factor; ``results.notes`` and each cell's ``reason`` say why.
    """
    return [
        SummaryRow(
            cell.arm if cell.from_arm is None else f"{cell.arm} (from {cell.from_arm})",
            f"{cell.size:,}",
            wording.plus_minus(cell.accuracy),
            wording.ratio(cell.worth.error_ratio),
            wording.factor(cell.worth.interpolated),
            wording.factor(cell.worth.fitted),
        )
        for cell in results.cells
    ]


def point_rows(results: Results) -> list[dict[str, object]]:
    """Return one row for each grid point, with the same columns in all. Figures of an arm and size are repeated in the
    rows of all its seeds. What there is not is None."""
    cells = {(cell.arm, cell.size): cell for cell in results.cells}
    return _same_columns([_point_row(point, cells[point.arm, point.size]) for point in results.points])


def cell_rows(results: Results) -> list[dict[str, object]]:
    """Return one row for each arm and size, over all its seeds, with the same columns in all."""
    return _same_columns([_cell_row(cell) for cell in results.cells])


def as_csv(results: Results) -> str:
    """Return ``results.csv``: the rows of `point_rows`, with six decimals."""
    rows = point_rows(results)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _same_columns(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    columns = dict.fromkeys(name for row in rows for name in row)
    return [columns | row for row in rows]


def _point_row(point: Point, cell: Cell) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": point.arm,
        "method": point.method,
        "layout": point.layout,
        "from": point.from_arm,
        "size": point.size,
        "seed": point.seed,
        "test_problems": point.problems,
        "samples": point.answers.samples,
    }
    return (
        row
        | _sampled(point)
        | {
            "trained": point.training.trained,
            "optimiser_steps": point.training.kept_steps,
            "best_epoch": point.training.best_epoch,
            **_estimate("validation", point.training.validation),
            "policy_epoch": point.training.policy_epoch,
            "pairs": point.pairs.pairs if point.pairs else None,
            **_estimate("error_ratio", cell.worth.error_ratio),
        }
        | _worth(cell)
    )


def _cell_row(cell: Cell) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": cell.arm,
        "method": cell.method,
        "layout": cell.layout,
        "from": cell.from_arm,
        "size": cell.size,
        "seeds": len(cell.seeds),
        "samples": cell.answers.samples,
    }
    ratio, difference = (
        _estimate("error_ratio", cell.worth.error_ratio),
        _estimate("difference", cell.worth.difference),
    )
    return row | _sampled(cell) | ratio | difference | _worth(cell)


def _sampled(of: Point | Cell) -> dict[str, object]:
    """Return accuracies with their intervals, and the counts of answers by verdict."""
    row: dict[str, object] = {}
    for prefix, estimates in (("pass", of.pass_at), ("maj", of.maj_at)):
        for k, estimate in sorted(estimates.items()):
            row |= _estimate(f"{prefix}_at_{k}", estimate)
    return row | {name: getattr(of.answers, name) for name in Answers.model_fields if name != "samples"}


def _worth(cell: Cell) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, worth in (("interpolated", cell.worth.interpolated), ("fitted", cell.worth.fitted)):
        parts = ("relation", "factor", "low", "high", "needed", "reason")
        row |= {f"{name}_{part}": getattr(worth, part) for part in parts}
    return row


def _estimate(name: str, estimate: Estimate | None) -> dict[str, object]:
    parts = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: getattr(estimate, part, None) for column, part in parts.items()}


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return round(value, DECIMALS)
    return "" if value is None else value
