"""The smaller pieces: scratch folders, the registry, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from misstep.artifacts.scratch import Scratch
from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from misstep.stages.registry import REGISTRY
from misstep.stages.tools import loaded_versions

KEY = "sft-" + "e" * 20


def test_the_same_folder_comes_back_after_a_restart(tmp_path: Path) -> None:
    with Scratch(KEY, 0) as first:
        (first.folder / "kept").write_text("x")
        (first.folder / "write-abc").mkdir()
    with Scratch(KEY, 0) as second:
        assert second.folder == first.folder
        assert [path.name for path in second.folder.iterdir()] == ["kept"]


def test_twins_and_shards_have_folders_of_their_own() -> None:
    with Scratch(KEY, 0) as one, Scratch(KEY, 0) as twin, Scratch(KEY, 1) as shard:
        assert len({one.folder, twin.folder, shard.folder}) == 3
        twin.remove()
        with Scratch(KEY, 0) as third:
            assert third.folder not in (one.folder, shard.folder)


def test_a_killed_process_frees_its_folder(tmp_path: Path) -> None:
    code = (
        "import os; from misstep.artifacts.scratch import Scratch; "
        f"s = Scratch({KEY!r}, 0); print(s.folder); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", code],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=False,
    )
    with Scratch(KEY, 0) as again:
        assert str(again.folder) == done.stdout.strip()


def test_scratch_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "file" / "x"))
    with pytest.raises(BadInput, match="MISSTEP_SCRATCH"):
        Scratch(KEY, 0)


def test_every_kind_has_work() -> None:
    assert set(REGISTRY) == set(StageKind)


def test_versions_are_those_of_what_is_loaded() -> None:
    import pyarrow

    versions = loaded_versions()
    assert versions["pyarrow"] == pyarrow.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "misstep" in versions
