"""From seeds to a trained model and a report, with the command that users type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from misstep.plan.kinds import StageKind
from tests.shared_data import shared_data
from tests.synthesis.running import planned, rows_of
from tests.synthesis.server import GoodTeacher, TeacherServer, serving
from tests.synthesis.test_local import save_chat_model

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_gsm8k_seeds_become_problems_that_a_model_is_trained_on(tmp_path: Path) -> None:
    save_chat_model(tmp_path / "base")
    with serving(TeacherServer(GoodTeacher(puzzling=10))) as server:
        path = tmp_path / "e.yaml"
        path.write_text(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: taught}}
spec:
  storage: {{uri: 'file://{tmp_path}/store'}}
  problems:
    train: {{format: gsm8k, path: '{shared_data("gsm8k")}', limit: 60}}
    test: {{format: gsm8k, path: '{shared_data("gsm8k")}', limit: 20}}
    holdOut: 10
    sizes: [32]
  policy: {{model: {{path: base}}}}
  verification: {{answerFormat: hash}}
  sampling: {{maxNewTokens: 8}}
  teacher:
    kind: endpoint
    endpoint: {{url: '{server.url}', model: m, budget: {{pricePerMillionInput: 1, pricePerMillionOutput: 2}}}}
    solutions: 3
  training:
    sft: {{epochs: 1, batchSize: 8, maxLength: 1024, selection: {{epochs: [1], problems: 4}}}}
  evaluation: {{samples: 1}}
  arms: [{{name: sft, method: sft}}]
  resources: {{default: {{memory: 512Mi, blockRows: 16}}, synthesize: {{shards: 2}}}}
""")
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "services"),
            "MISSTEP_SCRATCH": str(tmp_path / "scratch"),
        }
        command = [sys.executable, "-m", "misstep", "run", str(path)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=400
        )
    assert done.returncode == 0, done.stdout + done.stderr
    made = planned(path)
    problems = rows_of(made, StageKind.CURATE, "problems", tmp_path)
    train = [p for p in problems if p["split"] == "train"]
    assert len(train) >= 32 and {p["source"] for p in train} == {"teacher"}
    assert len([p for p in problems if p["split"] == "test"]) == 20
    assert len(rows_of(made, StageKind.SFT, "log", tmp_path)) == 4, "32 problems in batches of 8"
    report = next(p for p in (tmp_path / "store").rglob("results.json"))
    taught = json.loads(report.read_text())["problems"]["teacher"]
    assert taught["kept"] == len(train) and taught["kept"] + sum(taught["rejected"].values()) == taught["drafts"]
    assert taught["requests"]["asked"] == len(server.seen)
    assert taught["cost_millionths"] == len(server.seen) * 200
    page = next(p for p in (tmp_path / "store").rglob("report.html")).read_text()
    assert "A language model was the teacher" in page and "no agreement" in page, taught["rejected"]
