"""What a finished run leaves for people: the report beside the logs, and a result table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from misstep.artifacts.files import fetch
from misstep.artifacts.manifest import read_own
from misstep.plan.frozen import FrozenStage
from misstep.store.base import Store

if TYPE_CHECKING:
    from rich.table import Table

    from misstep.evaluation.results import Results

FILES = ("report.html", "results.json", "results.csv")


def fetch_report(store: Store, report: FrozenStage, folder: Path) -> dict[str, Path]:
    """Copy the committed report's files into a folder; name -> path, empty where there is no report yet.

    Raises Damaged where a file is not what the manifest says, Foreign where that is not the report's.
    """
    manifest = read_own(store, report)
    found: dict[str, Path] = {}
    for name, part in (manifest.files() if manifest else {}).items():
        if name in FILES:
            fetch(store, f"{report.key}/{part.path}", part.size, part.sha256, folder / name, link=False)
            found[name] = folder / name
    return found


def result_table(results: Results) -> Table:
    """The result of each arm at each size, as the end of a run shows it."""
    from rich.table import Table

    from misstep.evaluation.results_table import summary_rows

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm")
    table.add_column("problems", justify="right")
    table.add_column("pass@1, %", justify="right")
    table.add_column("error ratio", justify="right")
    table.add_column("worth x SFT data, by interpolation", justify="right")
    table.add_column("by fit", justify="right")
    for row in summary_rows(results):
        table.add_row(row.arm, row.size, row.accuracy, row.error_ratio, row.interpolated, row.fitted)
    return table
