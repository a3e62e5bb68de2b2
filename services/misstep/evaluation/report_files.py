"""The files of a committed report, read from a store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from misstep.artifacts.files import fetch
from misstep.artifacts.manifest import Manifest
from misstep.store.base import Store

RESULTS = "results.json"
FILES = ("report.html", RESULTS, "results.csv")


def fetch_files(store: Store, report: Manifest, folder: Path, names: tuple[str, ...] = FILES) -> dict[str, Path]:
    """Copy a report's files into a folder.

    Args:
        names: which ones; those that the report does not have are left out.

    Returns:
        Name -> path.

    Raises:
        Damaged: a file is not what the manifest says.
    """
    found: dict[str, Path] = {}
    for name, part in report.files().items():
        if name in names:
            fetch(store, f"{report.key}/{part.path}", part.size, part.sha256, folder / name, link=False)
            found[name] = folder / name
    return found


def results_text(store: Store, report: Manifest) -> str | None:
    """Return a report's results.json, or None where it has none. Raises Damaged."""
    with tempfile.TemporaryDirectory(prefix="misstep-results-") as folder:
        file = fetch_files(store, report, Path(folder), (RESULTS,)).get(RESULTS)
        return None if file is None else file.read_text(encoding="utf-8")
