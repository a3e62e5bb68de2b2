"""A whole real experiment through the command line: once undisturbed, once damaged, once killed again and again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from misstep.api.opening import load, make_plan, store_of
from misstep.api.run import Run
from misstep.artifacts.watch import StoreWatch
from misstep.errors import BadInput
from misstep.runner.executor import Executor
from misstep.runner.run import Result, Settings
from misstep.runner.schedule import Capacity, graph_of
from misstep.runner.workdir import Workdir
from tests.eventually import eventually
from tests.runner import entries
from tests.runner.processes import told_of
from tests.runner.small import NAME, ROOT, YAML, command, misstep

KILLS = 5
"""Of each seed of the sweep."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("finished")
    done = misstep(folder, "run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dpo-step" in done.stdout
    assert f".misstep/{NAME}/report.html" in done.stdout
    return folder


def report(folder: Path) -> dict[str, bytes]:
    work = folder / ".misstep" / NAME
    return {name: (work / name).read_bytes() for name in ("report.html", "results.json", "results.csv")}


def manifests(folder: Path) -> dict[str, int]:
    """Committed key -> when its manifest was written, to the nanosecond."""
    return {p.parent.name: p.stat().st_mtime_ns for p in (folder / ".misstep" / "store").glob("*/manifest.json")}


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_says_so_at_once(finished: Path) -> None:
    before = manifests(finished)
    began = time.monotonic()
    again = misstep(finished, "run", "small.yaml")
    assert time.monotonic() - began < 10
    assert again.returncode == 0
    assert "stages are there already: nothing to do" in again.stdout
    assert "dpo-step" in again.stdout  # the result is shown all the same
    assert manifests(finished) == before


@pytest.mark.slow
def test_the_looking_commands_show_the_finished_run(finished: Path) -> None:
    rows = json.loads(misstep(finished, "status", NAME, "--json").stdout)["stages"]
    assert {row["state"] for row in rows} == {"done"}
    assert "nothing to do" not in misstep(finished, "report", "small.yaml").stdout
    for follow in ([], ["--follow"]):  # with no run on, following ends where the log does
        assert "committed" in misstep(finished, "logs", NAME, "sft-d60-s0", *follow).stdout
    listed = json.loads(misstep(finished, "artifacts", "ls", "--json").stdout)
    assert {info["key"] for info in listed} == set(manifests(finished))
    exported = misstep(finished, "artifacts", "export", "score-", "--out", "x.jsonl")
    assert exported.returncode == 64  # several keys begin so
    (credit,) = [info["key"] for info in listed if info["kind"] == "credit"]
    assert (
        misstep(finished, "artifacts", "export", credit[:12], "--table", "negatives", "--out", "x.jsonl").returncode
        == 0
    )
    assert (finished / "x.jsonl").stat().st_size > 0
    gone = misstep(finished, "artifacts", "gc", NAME, "--grace-hours", "0", "--apply")
    assert gone.returncode == 0, gone.stderr
    assert "nothing to do" in misstep(finished, "run", "small.yaml").stdout


@pytest.mark.slow
def test_the_library_gives_the_same_as_the_commands(finished: Path, tmp_path: Path) -> None:
    run = Run.find(NAME, work=finished / ".misstep" / NAME)
    rows = json.loads(misstep(finished, "status", NAME, "--json").stdout)["stages"]
    assert [row.as_dict() for row in run.status().rows] == rows
    assert run.status().finished
    assert run.report(tmp_path)["results.csv"].read_bytes() == report(finished)["results.csv"]
    assert list(run.results()["arm"]) == ["sft", "rft", "dpo-step"]
    artifacts = run.artifacts()
    assert list(artifacts) == [row["stage"] for row in rows]
    (credit,) = artifacts.of_kind("credit")
    wrong = credit.frame("negatives", ["step_texts", "pit"])
    assert len(wrong) == credit.tables["negatives"] == sum(batch.num_rows for batch in credit.batches("negatives"))
    assert all(1 <= row.pit <= len(row.step_texts) for row in wrong.dropna().itertuples())
    with pytest.raises(BadInput, match="audits, negatives, prefixes, rollouts: name one"):
        credit.frame()
    assert (artifacts["dpo-step-d60-s0"].model() / "model.safetensors").is_file()
    with pytest.raises(BadInput, match="It holds no model"):
        credit.model()
    pairs = artifacts["pairs-dpo-step-d60-s0"]
    exported = pairs.export(tmp_path / "pairs.jsonl").read_text().splitlines()
    assert len(exported) == pairs.table().num_rows == pairs.summary["pairs"]


@pytest.mark.slow
def test_the_example_notebook_reads_the_run_and_a_notebook_can_run_stages(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "services"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    book = nbformat.read(ROOT / "examples" / "read-a-run.ipynb", as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)  # committed without results
    (given,) = (cell for cell in code if "parameters" in cell.metadata.get("tags", ()))
    given.source = f'EXPERIMENT = "small.yaml"\nSTORE = "{(finished / ".misstep" / "store").as_uri()}"'
    elsewhere = f'storage="{(tmp_path / "store").as_uri()}", work="{tmp_path / "work"}"'
    run = f'misstep.Experiment.load(EXPERIMENT, {elsewhere}).run(only="problems").status().rows[0].state.value'
    book.cells.append(nbformat.v4.new_code_cell(run))
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(finished)}}).execute()
    shown = json.dumps([cell.outputs for cell in book.cells if cell.cell_type == "code"])
    assert f"{NAME}: 19 of 19 stages done" in shown
    assert "image/png" in shown
    assert "<- the pit" in shown
    assert "problems: started" in shown  # lines, as where there is no terminal
    assert book.cells[-1].outputs[-1].data["text/plain"] == "'done'"


ON_A_LAPTOP: dict[str, tuple[str, ...]] = {
    "validate": ("small.yaml",),
    "plan": ("small.yaml",),
    "schema": (),
    "explain": ("spec.credit",),
    "upload": ("small.yaml", "--storage", "file://uploaded"),
    "status": (NAME,),
    "logs": (NAME, "sft-d60-s0"),
    "report": (NAME,),
    "artifacts": ("ls",),
    "compare": (NAME, f"again=.misstep/{NAME}/results.json"),
    "track": (NAME, "--to", "tensorboard"),
    "push": (NAME, "--arm", "dpo-step", "--to", "someone/model", "--dry-run"),
}
"""Command -> its arguments, in the folder of a finished run. What a researcher uses a cluster with belongs here."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_A_LAPTOP)
def test_what_uses_a_cluster_needs_nothing_of_linux(finished: Path, name: str) -> None:
    line, environment = command(finished, name, *ON_A_LAPTOP[name])
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "macos"), environment["PYTHONPATH"]])
    done = subprocess.run(line, cwd=finished, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_elsewhere_than_on_linux_a_run_says_what_to_do(tmp_path: Path) -> None:
    line, environment = command(tmp_path, "run", "small.yaml")
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "macos"), environment["PYTHONPATH"]])
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 64
    assert "error: misstep run: this machine runs macOS" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]  # nothing has started


@pytest.mark.slow
def test_stages_import_next_to_nothing_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forked stage still imports costs every stage of its kind: it belongs into preload."""
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "small.yaml").write_text(YAML, encoding="utf-8")
    plan = make_plan(load(tmp_path / "small.yaml", f"file://{tmp_path / 'store'}"))
    workdir = Workdir(tmp_path / "work")
    workdir.create()
    watch = StoreWatch(store_of(plan))
    settings = Settings(Capacity(2, 9999), entry=f"{entries.__name__}:noting_imports")
    graph = graph_of(plan, ["pairs-dpo-step-d60-s0"])
    assert Executor(plan, graph, watch, workdir, [], settings).run().result is Result.DONE
    for log in (tmp_path / "work" / "logs").glob("*.0.log"):
        imported = json.loads(log.read_text().splitlines()[-1])["imported"]
        packages = {name for name in imported if "." not in name} - set(sys.stdlib_module_names)
        assert not packages, log.name
        assert len(imported) < 12, (log.name, imported)


@pytest.mark.slow
def test_a_damaged_part_is_named_and_repaired_alone(finished: Path, tmp_path: Path) -> None:
    expected = report(finished)
    store = finished / ".misstep" / "store"
    part = max((p for p in store.glob("sample-*/*/*.parquet")), key=lambda p: p.stat().st_size)
    sound = part.read_bytes()
    part.chmod(0o644)
    part.write_bytes(sound[:-100])
    before = manifests(finished)
    damaged_key = part.parents[1].name
    repaired = misstep(finished, "run", "small.yaml", "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert f"removed {part.relative_to(store)}" in repaired.stdout
    after = manifests(finished)
    assert {key for key in before if after[key] != before[key]} == {damaged_key}
    assert part.read_bytes() == sound
    assert report(finished) == expected


@pytest.mark.slow
def test_an_isolated_stage_makes_the_same_artifact(finished: Path, tmp_path: Path) -> None:
    done = misstep(tmp_path, "run", "small.yaml", "--isolate", "--only", "sft-d60-s0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(manifests(tmp_path)) == 3  # with the problems and the check of the model
    for key in manifests(tmp_path):
        parts = [
            json.loads((folder / ".misstep" / "store" / key / "manifest.json").read_text())["parts"]
            for folder in (finished, tmp_path)
        ]
        assert parts[0] == parts[1]


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize("seed", range(4))
def test_a_run_killed_at_random_moments_ends_with_the_same_report(finished: Path, tmp_path: Path, seed: int) -> None:
    """SIGKILL to the runner alone, at random moments: nothing is left running, nothing committed is done again, and
    what comes out in the end is byte for byte the undisturbed run's."""
    chance = random.Random(seed)
    kills = 0
    committed: dict[str, int] = {}
    while kills < KILLS:
        line, environment = command(tmp_path, "run", "small.yaml", "--json")
        run = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        # So many events after the run has begun to start stages, and a moment more.
        events = chance.randint(1, 4)
        for text in run.stdout:
            events -= json.loads(text)["what"] in ("shard-started", "shard-ended", "shard-progress")
            if events <= 0:
                break
        time.sleep(chance.random())
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.stdout.close()
        code = run.wait()
        eventually(lambda: not told_of(tmp_path), 5, lambda: told_of(tmp_path))
        now = manifests(tmp_path)
        assert {key: now[key] for key in committed} == committed
        committed = now
        if code == 0:  # it came through before all kills were dealt: once more from nothing
            assert report(tmp_path) == report(finished)
            shutil.rmtree(tmp_path / ".misstep")
            committed = {}
    last = misstep(tmp_path, "run", "small.yaml")
    assert last.returncode == 0, last.stdout + last.stderr
    assert {key: manifests(tmp_path)[key] for key in committed} == committed
    assert report(tmp_path) == report(finished)
