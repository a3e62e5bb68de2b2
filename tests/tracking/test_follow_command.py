"""`misstep follow` as the operator starts it in a pod: with a packed plan and an Experiment, and ended by SIGTERM."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from misstep.plan.configmap import PLAN_FILE, pack
from misstep.plan.planner import Plan
from misstep.store.open import open_store
from tests.eventually import eventually
from tests.tracking import readers
from tests.tracking.finished import check_training, commit, experiment, output_of, planned

FOLLOW = (sys.executable, "-m", "misstep", "follow")


def start(folder: Path, made: Plan) -> subprocess.Popen[str]:
    (folder / PLAN_FILE).write_bytes(base64.b64decode(pack(made)[PLAN_FILE]))
    document = experiment(folder).resolved()
    document["spec"]["tracking"] = {"tensorboard": {"folder": str(folder / "board")}}
    line = [*FOLLOW, "tensorboard", str(folder / PLAN_FILE), json.dumps(document)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_it_ends_at_a_signal_with_all_there_is_and_the_next_one_logs_the_rest_once(tmp_path: Path) -> None:
    made = planned(tmp_path)
    store, scratch = open_store(made.storage), tmp_path / "scratch"
    *before, report = made.stages
    for stage in before:
        commit(store, stage, scratch, output_of(stage, scratch))
    first = start(tmp_path, made)
    try:
        eventually(lambda: list((tmp_path / "board").glob("*/step-d60-s0/*")), 60)
        first.send_signal(signal.SIGTERM)
        said, _ = first.communicate(timeout=60)
    finally:
        first.kill()
    assert (first.returncode, said) == (0, f"tensorboard: 80 rows logged; {tmp_path / 'board'}\n")
    commit(store, report, scratch, output_of(report, scratch))
    second = start(tmp_path, made)
    said, _ = second.communicate(timeout=60)
    assert (second.returncode, said) == (0, f"tensorboard: 0 rows logged; {tmp_path / 'board'}\n"), "it ends by itself"
    runs = readers.in_tensorboard(tmp_path / "board")
    assert sorted(runs) == ["experiment", "sft-d60-s0", "step-d60-s0"]
    check_training(runs["step-d60-s0"])


def test_a_plan_that_is_not_there_is_never_tried_again(tmp_path: Path) -> None:
    done = subprocess.run([*FOLLOW, "mlflow", "nowhere", "{}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 64, "bad input, with which the Job fails at once"
