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


def as_csv(results: Results) -> str:
    """Return ``results.csv``: one row per grid point; figures of an arm and size are repeated in the rows of all its
    seeds."""
    cells = {(cell.arm, cell.size): cell for cell in results.cells}
    rows = [_csv_row(point, cells[point.arm, point.size]) for point in results.points]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_row(point: Point, cell: Cell) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": point.arm,
        "method": point.method,
        "layout": point.layout or "",
        "from": point.from_arm or "",
        "size": point.size,
        "seed": point.seed,
        "test_problems": point.problems,
        "samples": point.answers.samples,
    }
    for prefix, estimates in (("pass", point.pass_at), ("maj", point.maj_at)):
        for k, estimate in sorted(estimates.items()):
            row |= _csv_estimate(f"{prefix}_at_{k}", estimate)
    row |= {name: getattr(point.answers, name) for name in Answers.model_fields if name != "samples"}
    row |= {
        "trained": str(point.training.trained).lower(),
        "optimiser_steps": point.training.kept_steps,
        "best_epoch": _blank(point.training.best_epoch),
        **_csv_estimate("validation", point.training.validation),
        "policy_epoch": _blank(point.training.policy_epoch),
        "pairs": _blank(point.pairs.pairs if point.pairs else None),
        **_csv_estimate("error_ratio", cell.worth.error_ratio),
    }
    for name, worth in (("interpolated", cell.worth.interpolated), ("fitted", cell.worth.fitted)):
        row[f"{name}_relation"] = _blank(worth.relation)
        row |= {
            f"{name}_{part}": _blank(getattr(worth, part)) for part in ("factor", "low", "high", "needed", "reason")
        }
    return row


def _csv_estimate(name: str, estimate: Estimate | None) -> dict[str, object]:
    parts = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: _blank(getattr(estimate, part, None)) for column, part in parts.items()}


def _blank(value: object) -> object:
    if isinstance(value, float):
        return round(value, DECIMALS)
    return "" if value is None else value
