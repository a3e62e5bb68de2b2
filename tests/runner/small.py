"""A real experiment that takes seconds: the quickstart's task and base model, one size, every kind of stage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "small"
YAML = f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: {NAME}}}
spec:
  problems:
    train: {{format: strides, limit: 120}}
    validation: {{format: strides, limit: 20}}
    test: {{format: strides, limit: 40}}
    sizes: [60]
  policy:
    model: {{path: {ROOT / "examples" / "quickstart-base"}}}
    prompt: {{template: "{{question}}"}}
  verification: {{answerFormat: hash}}
  sampling: {{samples: 8, temperature: 1, maxNewTokens: 48}}
  credit: {{rollouts: 5, bestOf: 5, negativesPerProblem: 1}}
  training:
    sft: {{learningRate: 1e-3, epochs: 4, batchSize: 16, selection: {{epochs: [2, 4], problems: 20}}}}
    rft: {{learningRate: 1e-3, epochs: 2, batchSize: 16, selection: {{epochs: [2], problems: 20}}}}
    dpo: {{epochs: 1, batchSize: 8}}
  evaluation: {{samples: 2}}
  arms:
    - {{name: sft, method: sft}}
    - {{name: rft, method: rft}}
    - {{name: dpo-step, method: dpo, pairs: shared-prefix}}
  resources:
    default: {{memory: 512Mi, blockRows: 20}}
"""


def command(folder: Path, *argv: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line for a process in that folder, and its environment; the experiment's file is there."""
    path = folder / "small.yaml"
    if not path.exists():
        path.write_text(YAML, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "services"),
        "MISSTEP_SCRATCH": str(folder / "scratch"),
        "COLUMNS": "200",
    }
    return [sys.executable, "-m", "misstep", *argv], environment


def misstep(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    line, environment = command(folder, *argv)
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)
