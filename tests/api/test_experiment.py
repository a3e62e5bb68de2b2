"""``misstep.Experiment``: what it checks, what it raises, and what it imports. Whole runs are in tests/runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import misstep
from misstep.api.experiment import Experiment as InItsModule
from misstep.api.running import Shown, carry_out
from misstep.runner.display import Silent, Told
from misstep.runner.run import Settings
from misstep.runner.schedule import Capacity, graph_of
from misstep.runner.workdir import Workdir
from misstep.spec.load import InvalidExperiment
from misstep.store.open import open_store
from tests.runner.entries import Do, plan_of, stage
from tests.runner.processes import told_of

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
HEAVY = ("torch", "pyarrow", "pandas", "numpy", "botocore", "rich", "transformers")


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> misstep.Experiment:
    monkeypatch.chdir(tmp_path)
    return misstep.Experiment.load(QUICKSTART, storage="file://store")


def imported_by(line: str) -> set[str]:
    """Return the packages that a fresh Python has imported after a line."""
    code = f"import sys\nbefore = set(sys.modules)\n{line}\nprint(*sorted(set(sys.modules) - before))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_else() -> None:
    assert imported_by("import misstep") - set(sys.stdlib_module_names) == {"misstep"}


def test_a_check_imports_nothing_heavy() -> None:
    loaded = imported_by(f"import misstep; misstep.Experiment.load({str(QUICKSTART)!r}).validate()")
    assert "pydantic" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_all_public_names_are_there() -> None:
    assert set(misstep.__all__) <= set(dir(misstep))
    assert all(getattr(misstep, name) is not None for name in misstep.__all__)
    assert misstep.Experiment is InItsModule
    with pytest.raises(AttributeError, match="no attribute 'Runs'"):
        misstep.Runs  # noqa: B018
    assert (ROOT / "services" / "misstep" / "py.typed").is_file()  # so that type checkers read them


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(misstep.BadInput, match="No such file"):
        misstep.Experiment.load(tmp_path / "missing.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text(QUICKSTART.read_text().replace("rollouts: 5", "rolouts: 5").replace("\n  seeds: [", "\n  sedes: ["))
    wrong = misstep.Experiment.load(bad)
    for use in (wrong.validate, wrong.plan, wrong.status, wrong.run):
        with pytest.raises(InvalidExperiment, match="Did you mean rollouts") as caught:
            use()
        assert {one.field for one in caught.value.problems} == {"spec.credit.rolouts", "spec.sedes"}


def test_a_plan_has_a_row_for_each_stage(experiment: misstep.Experiment) -> None:
    assert (experiment.name, len(experiment.validate().spec.arms)) == ("quickstart", 6)
    planned = experiment.plan(check_models=False)
    frame = planned.frame()
    assert list(frame.index) == [one.name for one in planned.plan.stages]
    assert not frame["done"].any()
    assert frame.loc["sft-d125-s0", "needs"] == ("inspect", "problems")
    assert str(planned).startswith(f"{len(frame)} stages, 0 done, in file://")
    assert not list(Path().iterdir())  # planning writes nothing


def test_a_model_that_the_yaml_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(misstep.BadInput, match="--model other"):
        misstep.Experiment.load(QUICKSTART, models={"other": tmp_path}).plan()


def test_before_a_run_there_are_no_results(experiment: misstep.Experiment) -> None:
    status = experiment.status()
    assert str(status).startswith("quickstart: 0 of ")
    assert not status.finished
    assert set(status.frame()["state"]) == {"waiting"}
    with pytest.raises(misstep.BadInput, match="has no report yet"):
        experiment.results()
    artifacts = experiment.artifacts()
    assert (len(artifacts), artifacts.of_kind("credit")) == (0, [])
    with pytest.raises(KeyError, match="no result yet"):
        artifacts["problems"]
    with pytest.raises(KeyError, match="Did you mean problems"):
        artifacts["problem"]
    with pytest.raises(misstep.BadInput, match="It has not run here"):
        misstep.Run.find("quickstart")


def test_a_note_is_a_warning_at_the_line_that_called(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    text = QUICKSTART.read_text().replace("path: quickstart-base", f"path: {QUICKSTART.parent / 'quickstart-base'}")
    old.write_text(text.replace("learningRate: 1e-3", 'learningRate: "1e-3"'))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        misstep.Experiment.load(old).validate()
    (warning,) = caught
    assert "quotes" in str(warning.message)
    assert warning.filename == __file__
    told: list[str] = []
    misstep.Experiment.load(old, note=told.append).validate()
    assert told == [str(warning.message)]


def test_elsewhere_than_on_linux_a_run_says_what_to_do(
    experiment: misstep.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(misstep.BadInput, match="this machine runs macOS") as caught:
        experiment.run()
    for way in ("a Linux machine", "docker run", "misstep upload"):
        assert way in str(caught.value)
    assert caught.value.exit_code == 64
    assert not list(Path().iterdir())


def test_a_run_in_another_thread_is_refused(experiment: misstep.Experiment) -> None:
    caught: list[Exception] = []

    def run() -> None:
        try:
            experiment.run()
        except misstep.MisstepError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def carried_out(folder: Path, shown: Shown, do: Do, milliseconds: int = 0) -> None:
    """Run a stage that behaves so, as `Experiment.run` does."""
    plan = plan_of(stage("s0", folder / "store", do=do, milliseconds=milliseconds))
    workdir = Workdir(folder / "work")
    workdir.create()
    settings = Settings(Capacity(2, 9999), retries=0, entry="tests.runner.entries:main", poll_seconds=0.1)
    store = open_store(plan.storage)
    carry_out(plan, graph_of(plan), store, workdir, settings, shown, {"file": "x.yaml", "command": ["x"]})


def told(tell: object) -> Shown:
    return Shown(lambda state: Told(tell, state), lambda text: None, lambda text: None)  # type: ignore[arg-type]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path


@pytest.mark.parametrize(("do", "code"), [(Do.BAD_INPUT, 64), (Do.CRASH, 1)])
def test_a_failure_names_the_stage_its_error_and_its_log(scratch: Path, do: Do, code: int) -> None:
    silent = Shown(lambda state: Silent(), lambda text: None, lambda text: None)
    with pytest.raises(misstep.StageFailed, match=r"s0 failed and 1 stages have no result") as caught:
        carried_out(scratch, silent, do)
    assert caught.value.exit_code == code
    (failure,) = caught.value.failures
    assert failure.error in str(caught.value)
    assert str(scratch / "work" / "logs" / "s0.0.log") in str(caught.value)


def test_ctrl_c_stops_the_stages_and_is_a_keyboard_interrupt(scratch: Path) -> None:
    def interrupt(event: misstep.Event) -> None:
        if event.what == "shard-started":
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped with 1 stages left") as caught:
        carried_out(scratch, told(interrupt), Do.WELL, 60_000)
    assert isinstance(caught.value, misstep.RunStopped)
    assert signal.getsignal(signal.SIGINT) is before
    assert not told_of(scratch)


def test_an_error_of_the_callers_function_stops_the_stages_too(scratch: Path) -> None:
    def fail(event: misstep.Event) -> None:
        if event.what == "shard-started":
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        carried_out(scratch, told(fail), Do.WELL, 60_000)
    assert not told_of(scratch)
