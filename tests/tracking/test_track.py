"""`misstep track` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from misstep.cli.track import chosen
from misstep.errors import BadInput
from misstep.plan import extras
from misstep.spec.tracking import MlflowTracking, TensorboardTracking, Tracking
from misstep.tracking.follow import Turn
from misstep.tracking.tracker import open_tracker
from tests.cli.running import Run, run
from tests.tracking import readers
from tests.tracking.finished import check_training, experiment, finished

__all__ = ["run"]


def test_a_finished_run_is_replayed_into_a_tracker_that_its_file_does_not_name(run: Run, tmp_path: Path) -> None:
    finished(tmp_path)
    code, out, err = run("track", "small", "--to", "tensorboard=board", "--work", tmp_path / "work")
    assert (code, err) == (0, "")
    assert out == f"tensorboard: 80 rows logged; {tmp_path / 'board'}\n"
    runs = readers.in_tensorboard(tmp_path / "board")
    assert sorted(runs) == ["experiment", "sft-d60-s0", "step-d60-s0"]
    check_training(runs["step-d60-s0"])
    page = next((tmp_path / "board").glob("*/experiment/report.html"))
    assert page.read_text() == "<p>report"
    assert run("track", "small", "--to", "tensorboard=board", "--work", tmp_path / "work")[1].startswith(
        "tensorboard: 0 rows"
    )


def test_without_a_tracker_it_says_how_to_name_one(run: Run, tmp_path: Path) -> None:
    finished(tmp_path)
    code, _, err = run("track", "small", "--work", tmp_path / "work")
    assert code == 64
    assert "spec.tracking" in err and "mlflow, wandb, trackio, tensorboard" in err


def test_a_library_that_is_not_installed_is_named_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path)
    there = extras._is_there
    monkeypatch.setattr(extras, "_is_there", lambda module: module != "mlflow" and there(module))
    code, _, err = run("track", "small", "--to", "mlflow=http://localhost:1", "--work", tmp_path / "work")
    assert code == 64
    assert 'pip install "misstep[mlflow]"' in err


def test_settings_that_nobody_kept_are_asked_for(run: Run, tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / "work" / "experiment.json").unlink()
    code, _, err = run("track", "small", "--to", "tensorboard", "--work", tmp_path / "work")
    assert code == 64
    assert "name its YAML file" in err


OWN = Tracking(mlflow=MlflowTracking(uri="http://own:5000", experiment="mine"), tensorboard=TensorboardTracking())


def test_the_command_line_may_name_trackers_and_their_places() -> None:
    assert chosen(OWN, None)[0] == ["mlflow", "tensorboard"]
    names, tracking = chosen(OWN, ["tensorboard=other", "mlflow"])
    assert names == ["tensorboard", "mlflow"]
    assert tracking.tensorboard is not None and tracking.tensorboard.folder == "other"
    assert tracking.mlflow == OWN.mlflow


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("mlfow", "Did you mean mlflow"),
        ("mlflow", "mlflow=http://HOST:PORT"),
        ("mlflow=ftp://x", "mlflow=http://HOST:PORT"),
        ("mlflow=http://name:secret@host", "mlflow=http://HOST:PORT"),
        ("trackio=../up", "trackio=PROJECT"),
    ],
)
def test_a_place_that_cannot_be_one_is_refused(to: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        chosen(Tracking(), [to])


def test_a_tracker_that_nobody_named_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"spec\.tracking"):
        open_tracker("wandb", experiment(tmp_path).spec.tracking)


def test_a_place_where_another_process_logs_the_experiment_is_left_alone(run: Run, tmp_path: Path) -> None:
    made = finished(tmp_path)
    turn = Turn(
        made, open_tracker("tensorboard", Tracking(tensorboard=TensorboardTracking(folder=str(tmp_path / "board"))))
    )
    assert turn.take()
    code, _, err = run("track", "small", "--to", "tensorboard=board", "--work", tmp_path / "work")
    turn.release()
    assert code == 1
    assert "another process logs this experiment there" in err
    assert not (tmp_path / "board").exists()
