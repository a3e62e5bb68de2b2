"""The check `shapes`: what benchmarks/shapes.py measures, on this machine's first GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tools.gpu_check.world import ROOT, World

SHAPE = "deepseek-ai/deepseek-math-7b-base"
SECONDS = 25 * 60
"""Of all parts together; on an H100 they should take about ten minutes."""


def check(world: World) -> str:
    """Measure random weights of a 7B shape, on cores a tiny one; the benchmark's own table goes to the output."""
    results = world.folder / "shapes.json"
    command = [sys.executable, str(ROOT / "benchmarks/shapes.py"), "--json", str(results)]
    command += ["--shape", SHAPE if world.gpus else "tiny", "--work", str(world.folder / "work-shapes")]
    environment = dict(os.environ) if world.gpus else {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=SECONDS, check=False)
    if not results.exists():
        raise RuntimeError(f"benchmarks/shapes.py ended with exit code {done.returncode} and no results")
    held = json.loads(results.read_text())
    if held["problems"]:
        raise RuntimeError("; ".join(held["problems"]))
    return str(held["summary"])
