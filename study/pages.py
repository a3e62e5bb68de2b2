"""What `make docs` writes for the study: its Experiments, and tables and pictures from the committed figures."""

from __future__ import annotations

import re
from pathlib import Path

from study import figures
from study.design import designs
from study.finished import EXPERIMENTS, ROOT
from study.pictures import pictures
from study.tables import tables

PAGE = ROOT / "docs" / "study.md"
PICTURES = ROOT / "docs" / "study"
_TABLE = re.compile(r"(<!-- table ([a-z-]+): make docs -->\n).*?(<!-- end of table -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Return the text of every generated file. Raises KeyError where the page names a table that does not exist."""
    found = figures.read()
    made = {EXPERIMENTS / f"{design.name}.yaml": design.text for design in designs()}
    made |= {PICTURES / name: text for name, text in pictures(found).items()}
    known = tables(found)
    page = _TABLE.sub(lambda match: f"{match[1]}\n{known[match[2]]}\n\n{match[3]}", PAGE.read_text())
    return made | {PAGE: page}
