"""Large data is streamed: a process's memory does not grow with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from misstep.store.description import Storage

CODE = """
import re, sys
from pathlib import Path
from misstep.artifacts.files import stored_problem
from misstep.store.open import open_store
from misstep.store.description import Storage

def peak():  # not getrusage: its peak is inherited from the process that forked this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

store = open_store(Storage.model_validate_json(sys.argv[1]))
source, target = Path(sys.argv[2]), Path(sys.argv[3])
store.put("small", b"x")
store.get("small")
before = peak()
store.put_file("big", source)
store.download("big", target)
stored_problem(store, "big", source.stat().st_size, "")
print(peak() - before)
"""


def test_a_large_object_is_never_whole_in_memory(storage: Storage, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        for number in range(300):
            file.write(bytes([number % 256]) * (1 << 20))
    done = subprocess.run(
        [sys.executable, "-c", CODE, storage.model_dump_json(), str(source), str(target)],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert target.stat().st_size == 300 << 20
    assert subprocess.run(["cmp", str(source), str(target)], check=False).returncode == 0
    assert int(done.stdout) < 150, f"{done.stdout} MiB for an object of 300"


@pytest.mark.slow
def test_records_stay_within_the_bound() -> None:
    """The benchmark's million rows, a fifth of them: memory does not depend on how many."""
    done = subprocess.run(
        [sys.executable, "benchmarks/records.py", "--rows", "200000"],
        env={**os.environ, "PYTHONPATH": "services", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
