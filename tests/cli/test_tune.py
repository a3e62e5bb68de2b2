"""``misstep tune`` on a real task: what it refuses, and a whole small search."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from misstep.api.opening import load, make_plan, store_of
from misstep.artifacts.reader import Reader
from misstep.cli.app import main
from misstep.plan.kinds import StageKind
from misstep.plan.params import ProblemsParams, SampleParams
from misstep.runner.workdir import Workdir
from misstep.search.result import SearchResult
from tests.runner.small import YAML, command, misstep

SEARCH = """
  search:
    seeds: [100, 101]
    problems: 40
    sizes: [40]
    sft: {epochs: [4, 8]}
    dpo: {learningRate: [1e-6, 1e-3]}
"""
FILE = "small.yaml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def call(text: str, *argv: str) -> tuple[int, str, str]:
        (tmp_path / FILE).write_text(text)
        code = main(["tune", FILE, *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_an_experiment_without_a_search_is_shown_one_to_paste(run, tmp_path: Path) -> None:
    code, _, err = run(YAML)
    assert code == 64
    assert err.startswith("error: spec.search: not given. Say what to try.")
    pasted = YAML.rstrip("\n") + "\n" + err[err.index("  search:") :]
    assert run(pasted, "--plan-only")[0] == 0
    assert not (tmp_path / ".misstep").exists()


@pytest.mark.parametrize(
    ("change", "argv", "said"),
    [
        (("seeds: [100, 101]", "seeds: [0, 101]"), [], "search.seeds and seeds have 0 in common"),
        (("sizes: [40]", "sizes: [400]"), [], "search.sizes, 400, is above problems.train.limit, 120"),
        (("", ""), ["--out", "nowhere/tuned.yaml"], "--out: nowhere/tuned.yaml. Name a file in a folder that is there"),
        (("", ""), ["--out", "."], "--out"),
        (("", ""), ["--data", "gsm8k=."], "--data gsm8k"),
        (("validation: {format: strides, limit: 20}", "holdOut: 10"), ["--plan-only"], "leaves 60 to train on"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(run, tmp_path, change, argv, said) -> None:
    text = YAML + SEARCH
    if change[0].startswith("validation"):
        text = text.replace("sizes: [40]", "sizes: [100]")
    code, _, err = run(text.replace(*change) if change[0] else text, *argv)
    assert code == 64
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_plan_only_lists_settings_and_cost_and_runs_nothing(run, tmp_path: Path) -> None:
    code, out, _ = run(YAML + SEARCH, "--plan-only")
    assert code == 0
    assert "epochs 4; epochs 8" in out and "learningRate 1e-6; learningRate 1e-3" in out
    assert "10 x sample (validation)" in out and "stages, 0 done" in out
    assert not (tmp_path / ".misstep").exists()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / FILE).write_text(YAML + SEARCH)
    done = misstep(folder, "tune", FILE)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.slow
def test_a_search_ends_with_a_table_figures_and_an_experiment(searched: Path) -> None:
    said = (searched / "said").read_text()
    assert "round 1 of the search: 4 models to judge" in said and "round 2 of the search: 6 models to judge" in said
    work = searched / ".misstep" / "small-search"
    result = SearchResult.model_validate_json((work / "search.json").read_text())
    assert [(arm.arm, len(arm.tried)) for arm in result.arms] == [("sft", 2), ("rft", 1), ("dpo-step", 2)]
    assert (result.seeds, result.sizes, result.choosing_problems, result.judging_problems) == ([100, 101], [40], 20, 40)
    for arm in result.arms:
        assert arm.best.mean == max(tried.mean for tried in arm.tried)
        assert said.count(f"\n{arm.arm} ") == len(arm.tried)
    assert said.count("chosen") == 2
    tuned = load(work / "small.tuned.yaml", "file://store")
    before = load(searched / FILE, "file://store")
    assert str(tuned.spec.training.sft.epochs) in said
    assert tuned.spec.training.sft.epochs == result.arms[0].best.setting["epochs"]
    assert tuned.spec.training.dpo.learning_rate == float(result.arms[2].best.setting["learningRate"])
    rest = {"training"}
    assert tuned.spec.model_dump(exclude=rest) == before.spec.model_dump(exclude=rest)


@pytest.mark.slow
def test_a_search_has_seen_no_test_problem(searched: Path) -> None:
    plan = Workdir(searched / ".misstep" / "small-search").read_plan()
    assert plan is not None
    store = store_of(plan)
    reader = Reader(store, searched / "cache")
    experiment = make_plan(load(searched / FILE, "file://" + str(searched / "other")))
    main_problems = experiment.stages[0].typed_params()
    assert isinstance(main_problems, ProblemsParams) and main_problems.test is not None
    for stage in plan.stages:
        assert "source_test" not in stage.externals
        params = stage.typed_params()
        assert not isinstance(params, ProblemsParams) or params.test is None
        assert not isinstance(params, SampleParams) or params.split != "test"
    problems = reader.table(plan.stages[0].key, "problems").to_pylist()
    assert {row["split"] for row in problems} == {"train", "validation"}
    split = {row["problem_id"]: row["split"] for row in problems}
    order = [row["problem_id"] for row in problems if row["split"] == "validation"]
    judged = 0
    for stage in plan.stages:
        if stage.kind is StageKind.SCORE:
            ids = {row["problem_id"] for row in reader.table(stage.key, "outcomes").to_pylist()}
            assert ids == set(order[20:60])
            judged += 1
        elif stage.kind is StageKind.SAMPLE:
            ids = {row["problem_id"] for row in reader.table(stage.key, "samples").to_pylist()}
            assert {split[i] for i in ids} == {"train"} or ids == set(order[20:60])
    assert judged == 10


@pytest.mark.slow
def test_a_second_search_does_nothing_anew_and_the_looking_commands_show_the_first(searched: Path) -> None:
    store = searched / ".misstep" / "store"
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/manifest.json")}
    again = misstep(searched, "tune", FILE, "--out", "mine.yaml")
    assert again.returncode == 0, again.stderr
    assert f"all {len(before)} stages are there already: nothing to do" in again.stdout
    table = (searched / "said").read_text().split("\narm ")[1].split("\nFigures")[0]
    assert table in again.stdout
    assert {path: path.stat().st_mtime_ns for path in store.glob("*/manifest.json")} == before
    assert load(searched / "mine.yaml").spec.search == load(searched / FILE).spec.search
    copy, mine = searched / "in-place.yaml", (searched / "mine.yaml").read_text()
    copy.write_text((searched / FILE).read_text())
    for _ in range(2):  # over the file that was searched, and once more
        assert misstep(searched, "tune", "in-place.yaml", "--out", "in-place.yaml").returncode == 0
        assert copy.read_text().count("Settings frozen by") == 1
        assert copy.read_text().partition("\napiVersion")[2] == mine.partition("\napiVersion")[2] != ""
    rows = json.loads(misstep(searched, "status", "small-search", "--json").stdout)["stages"]
    assert {row["state"] for row in rows} == {"done"} and len(rows) == len(before)
    assert table in misstep(searched, "report", "small-search").stdout
    assert "committed" in misstep(searched, "logs", "small-search", "sft.2-d40-s101").stdout
    gone = misstep(searched, "artifacts", "gc", "small-search", "--grace-hours", "0", "--apply")
    assert gone.returncode == 0 and "removed 0 B" in gone.stdout


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_ends_with_the_same_figures(searched: Path, tmp_path: Path) -> None:
    """The second round's models are trained anew; those of the first are there already, which saves a minute."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    plan = Workdir(tmp_path / ".misstep/small-search").read_plan()
    assert plan is not None
    for stage in plan.stages:
        if "dpo" in stage.name:
            shutil.rmtree(tmp_path / ".misstep/store" / stage.key)
    (tmp_path / ".misstep/small-search/search.json").unlink()
    line, environment = command(tmp_path, "tune", FILE)
    run = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for text in run.stdout:
        if "round 2" in text:
            break
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    unfinished = misstep(tmp_path, "report", "small-search")
    assert unfinished.returncode == 64 and "The search has no result yet" in unfinished.stderr
    done = misstep(tmp_path, "tune", FILE, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "round" not in done.stdout
    ours, theirs = (folder / ".misstep/small-search/search.json" for folder in (tmp_path, searched))
    assert ours.read_text() == theirs.read_text()
