"""Run one frozen stage in a process of its own, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from misstep.plan.frozen import FrozenStage

ROOT = Path(__file__).parents[2]


def start(stage: FrozenStage, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services"), "MISSTEP_SCRATCH": str(folder / "scratch")}
    command = [sys.executable, "-m", "misstep", "stage", stage.model_dump_json()]
    return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
