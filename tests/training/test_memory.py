"""Real out-of-memory errors: a limit on the address space of a training process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from misstep.errors import EXIT_BAD_INPUT
from tests.training import small
from tests.training.ranks import ROOT


def attempt(folder: Path, spare_mib: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.memory", str(folder), str(spare_mib)],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}", "DS_ACCELERATOR": "cpu"},
        cwd=ROOT,
        check=False,
    )
    return done.returncode, (done.stdout.strip().splitlines() or [done.stderr])[-1]


@pytest.mark.slow
def test_attempts_after_one_that_ran_out_of_memory_take_half_the_rows(tmp_path: Path) -> None:
    """The feed-forward layers are wide: 64 rows need some 3 GiB beyond what the process starts with, 4 rows 0.2."""
    small.save_model(tmp_path / "model", intermediate_size=60_000)
    rows = 64
    code, said = attempt(tmp_path, 1_000)
    while code == 1:
        assert f"ran out of memory with micro-batches of {rows} rows of up to" in said
        assert f"the next attempt uses at most {rows // 2} rows at once" in said
        rows //= 2
        code, said = attempt(tmp_path, 1_000)
    assert (code, rows < 64) == (0, True), said
    assert len(json.loads(said)) == 1
    (tmp_path / "store" / "sft-0" / "checkpoints" / "out-of-memory.json").write_text('{"micro_batch": 1}')
    code, said = attempt(tmp_path, 1_000)
    assert code == EXIT_BAD_INPUT
    assert "Not even a single row fits into memory" in said
