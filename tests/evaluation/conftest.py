from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from misstep.artifacts.reader import Reader
from misstep.evaluation.results import Results, read_results
from misstep.stages.shell import run_stage
from tests.evaluation.world import World


@dataclass(frozen=True)
class Made:
    """What the report stage wrote."""

    html: str
    json: str
    csv: str
    summary: dict[str, Any]

    @property
    def results(self) -> Results:
        return read_results(self.json)


def make_report(folder: Path, **world: Any) -> Made:
    """Commit a world's artifacts and run the real score and report stages on them."""
    made = World(folder, **world)
    stage = made.report_stage()
    result = run_stage(stage)
    assert result.manifest is not None
    reader = Reader(made.store, folder / "read")
    names = ("report.html", "results.json", "results.csv")
    html, data, table = (reader.file(stage.key, name).read_text("utf-8") for name in names)
    return Made(html, data, table, dict(result.manifest.summary))


@pytest.fixture(scope="session", autouse=True)
def _without_syncing_to_disk() -> Iterator[None]:
    """A world is some hundred small files; waiting for the disk on each takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Make reports; the same world is made once a session."""
    made: dict[str, Made] = {}

    def make(**world: Any) -> Made:
        name = repr(sorted(world.items()))
        if name not in made:
            made[name] = make_report(tmp_path_factory.mktemp("world"), **world)
        return made[name]

    return make
