"""The report of a finished experiment: its files, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.artifacts.manifest import Manifest
    from misstep.evaluation.results import Results
    from misstep.plan.planner import Plan
    from misstep.store.base import Store


def fetch_report(store: Store, plan: Plan, folder: Path) -> dict[str, Path]:
    """Copy the committed report's files into a folder.

    Returns:
        Name -> path.

    Raises:
        BadInput: there is no report yet.
        Damaged: a file is not what the manifest says.
        Foreign: the manifest is not of this report.
    """
    from misstep.evaluation.report_files import fetch_files

    return fetch_files(store, _manifest(store, plan), folder)


def read_figures(store: Store, plan: Plan) -> Results:
    """Return all figures of a committed report. Raises as `fetch_report` does."""
    from misstep.evaluation.report_files import RESULTS, results_text
    from misstep.evaluation.results import read_results

    text = results_text(store, _manifest(store, plan))
    if text is None:
        raise BadInput("experiment", plan.experiment, f"Its report has no {RESULTS}: `misstep run` makes it again.")
    return read_results(text)


def _manifest(store: Store, plan: Plan) -> Manifest:
    from misstep.artifacts.manifest import read_own
    from misstep.plan.kinds import StageKind

    if plan.report.kind is not StageKind.REPORT:
        fix = "This is a search, which has no report: `misstep report` shows what it has chosen."
        raise BadInput("experiment", plan.experiment, fix)
    manifest = read_own(store, plan.report)
    if manifest is None:
        fix = "It has no report yet: `misstep status` shows what is missing."
        raise BadInput("experiment", plan.experiment, fix)
    return manifest
