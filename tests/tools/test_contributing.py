"""CONTRIBUTING.md names files by their path; these must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_path_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", PAGE)
    assert len(named) > 40
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_command_that_the_page_names_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", PAGE)) - {"check"} <= targets
