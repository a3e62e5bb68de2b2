"""MLflow for real: a server from the package index, killed and started again, and read back by its REST API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from misstep.spec.tracking import MlflowTracking, Tracking
from tests.eventually import eventually
from tests.runner.small import YAML, command, misstep
from tests.tracking import killed
from tests.tracking.finished import check_training, finished
from tests.tracking.mlflow_server import MlflowServer, program

ROOT = Path(__file__).parents[2]
LONG = 400
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    try:
        program()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no package index is reached, so there is no MLflow server: {error}")
    found = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        found.start()
        yield found
    finally:
        found.kill()


def test_killed_processes_leave_no_gap_and_no_point_twice(server: MlflowServer, tmp_path: Path) -> None:
    tracking = Tracking(mlflow=MlflowTracking(uri=server.url, experiment="killed"))
    finished(tmp_path, LONG)
    settings = tracking.model_dump_json(by_alias=True)
    line = [sys.executable, "-m", "tests.tracking.killed", str(tmp_path), "mlflow", settings]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}"}
    for seconds in ("0.02", "0.3"):
        ended = subprocess.run([*line, seconds], cwd=ROOT, env=environment, capture_output=True, timeout=300)
        assert ended.returncode in (-9, 0), ended.stderr.decode()[-2000:]
    killed.log(tmp_path, "mlflow", tracking, None)
    assert killed.log(tmp_path, "mlflow", tracking, None) == 0
    runs = {run["info"]["run_name"]: run for run in server.runs("killed")}
    assert sorted(runs) == ["sft-d60-s0", "small", "step-d60-s0"], "a run each, whoever made it"
    for name in ("sft-d60-s0", "step-d60-s0"):
        check_training(runs[name]["points"], LONG)
        assert runs[name]["tags"]["mlflow.parentRunId"] == runs["small"]["info"]["run_id"]
    assert runs["small"]["params"]["spec.credit.estimator"] == "adaptive"
    assert runs["small"]["files"] == ["experiment.yaml", "report.html", "results.csv", "results.json"]
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}


def test_a_server_that_goes_away_holds_no_run_up_and_gets_everything_later(
    server: MlflowServer, tmp_path: Path
) -> None:
    tracking = f"spec:\n  tracking: {{tensorboard: {{}}, mlflow: {{uri: '{server.url}', experiment: live}}}}"
    shorter = YAML.replace("    - {name: dpo-step, method: dpo, pairs: shared-prefix}\n", "")
    (tmp_path / "small.yaml").write_text(shorter.replace("spec:", tracking, 1))
    line, environment = command(tmp_path, "run", "small.yaml")
    with (tmp_path / "out").open("wb") as out:
        run = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=out, stderr=out)
        policy = "sft-d60-s0"

        def policy_logged() -> bool:
            try:
                names = {one["info"]["run_name"]: one["points"] for one in server.runs("live")}
            except OSError:  # nothing is there yet
                return False
            return bool(names.get(policy, {}).get("train/loss"))

        try:
            eventually(policy_logged, 300, (tmp_path / "out").read_text, every=0.2)
            assert run.poll() is None, "it logs while the run goes on"
            server.kill()
            assert run.wait(timeout=600) == 0
        finally:
            run.terminate()
            run.wait()
    said = (tmp_path / "out").read_text()
    assert "tracking mlflow: warning:" in said
    assert "misstep track small --to mlflow" in said
    assert "tracking tensorboard" not in said
    server.start()
    later = misstep(tmp_path, "track", "small")
    assert later.returncode == 0, later.stdout + later.stderr
    runs = {one["info"]["run_name"]: one for one in server.runs("live")}
    assert len(runs) == 3
    for points in (one["points"] for name, one in runs.items() if name != "small"):
        steps = [step for step, _ in points["train/loss"]]
        assert steps and len(steps) == len(set(steps))
    assert runs["small"]["files"] == ["experiment.yaml", "report.html", "results.csv", "results.json"]
