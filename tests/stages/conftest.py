from __future__ import annotations

from pathlib import Path

import pytest

from tests.artifacts.conftest import *  # noqa: F403 - the same stores


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the work of tests.stages.work notes what it does."""
    monkeypatch.setenv("WORK_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "notes").touch()
    return tmp_path / "notes"
