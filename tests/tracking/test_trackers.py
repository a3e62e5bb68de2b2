"""TensorBoard, Trackio and W&B's offline mode for real: a killed process leaves no gap, and no point twice."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misstep.spec.tracking import TensorboardTracking, Tracking, TrackioTracking, WandbTracking
from tests.eventually import eventually
from tests.tracking import killed, readers
from tests.tracking.finished import STEPS, check_training, finished

ROOT = Path(__file__).parents[2]
LONG = 400
"""Rows of a log that takes some time to write."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Tracking, Callable[[], readers.Runs]]]:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for module in ("trackio.utils", "trackio.sqlite_storage"):
        monkeypatch.setattr(f"{module}.TRACKIO_DIR", tmp_path / "trackio")
    board, files = tmp_path / "board", tmp_path / "files"
    return {
        "tensorboard": (
            Tracking(tensorboard=TensorboardTracking(folder=str(board))),
            lambda: readers.in_tensorboard(board),
        ),
        "trackio": (Tracking(trackio=TrackioTracking()), lambda: readers.in_trackio("misstep")),
        "wandb": (
            Tracking(wandb=WandbTracking(mode="offline", folder=str(files))),
            lambda: readers.in_wandb_files(files),
        ),
    }


NAMES = ["tensorboard", "trackio", pytest.param("wandb", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_experiment_is_logged_once_however_often(places, name: str, tmp_path: Path) -> None:
    tracking, read = places[name]
    finished(tmp_path)
    assert killed.log(tmp_path, name, tracking, None) == 80
    assert killed.log(tmp_path, name, tracking, None) == 0
    runs = read()
    assert len(runs) == 3
    for points in (points for points in runs.values() if "train/loss" in points):
        check_training(points)
    if name != "wandb":  # there figures without a step are in the summary, not in the history
        everything = {metric: points for points in runs.values() for metric, points in points.items()}
        assert everything["credit/pits"] == [(0, 35.0)]
        assert [round(value, 5) for _, value in everything["results/step-d60/pass_at_1"]] == [0.4]


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_killed_processes_leave_no_gap_and_no_point_twice(places, name: str, tmp_path: Path) -> None:
    tracking, read = places[name]
    finished(tmp_path, LONG)
    line = [sys.executable, "-m", "tests.tracking.killed", str(tmp_path), name, tracking.model_dump_json(by_alias=True)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}"}
    for seconds in ("0.01", "0.1", "0.6"):
        ended = subprocess.run([*line, seconds], cwd=ROOT, env=environment, capture_output=True, timeout=300)
        assert ended.returncode in (-9, 0), ended.stderr.decode()[-2000:]
    killed.log(tmp_path, name, tracking, None)
    trainings = [points for points in read().values() if "train/loss" in points]
    assert len(trainings) == 2
    for points in trainings:
        check_training(points, LONG)


@pytest.mark.slow
def test_tensorboards_server_shows_the_scalars(places, tmp_path: Path) -> None:
    tracking, _ = places["tensorboard"]
    finished(tmp_path)
    killed.log(tmp_path, "tensorboard", tracking, None)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path / "board"), "--port", str(port)]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", timeout=10) as answer:
                return json.load(answer)
        except OSError:  # it has not started, or not loaded the run yet
            return None

    try:
        runs = eventually(lambda: found if len(found := ask("runs") or []) == 3 else [], 120, every=0.5)
        run = next(name for name in runs if name.endswith("/step-d60-s0"))
        query = urllib.parse.urlencode({"tag": "train/loss", "run": run})
        scalars = eventually(lambda: ask(f"plugin/scalars/scalars?{query}"), 60, every=0.5)
    finally:
        server.terminate()
        server.wait()
    assert [step for _, step, _ in scalars] == list(range(1, STEPS + 1))
