"""The command that pods and the local runner start, as a process of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from misstep.artifacts import manifest as m
from misstep.plan.frozen import FrozenStage
from misstep.stages.main import load_stage
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.stages import making
from tests.store import servers

CODE = """
import sys
from misstep.stages.main import main
from tests.stages.work import REGISTRY
sys.exit(main(sys.argv[1:], registry=REGISTRY))
"""


def _start(*args: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *args],
        env={**os.environ, "PYTHONPATH": "services:.", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    process = _start(*args, **env)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(args, process.returncode, out, err)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(uri=f"file://{tmp_path}/store")


@pytest.fixture
def stage(storage: Storage) -> FrozenStage:
    return making.samples(storage)


def test_done_is_0(stage: FrozenStage, tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text(stage.model_dump_json())
    for argument in (stage.model_dump_json(), str(tmp_path / "stage.json"), f"file://{tmp_path}/stage.json"):
        done = _run(argument)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    assert "committed" in done.stderr


@pytest.mark.parametrize("how", ["bad-input", "error", "disk"])
def test_failing_ends_with_the_code_and_the_message(stage: FrozenStage, tmp_path: Path, how: str) -> None:
    done = _run(stage.model_dump_json(), WORK_FAIL=f"1:{how}", MISSTEP_TERMINATION_LOG=str(tmp_path / "message"))
    message = (tmp_path / "message").read_text()
    if how == "bad-input":
        assert done.returncode == 64
        assert message == "spec.problems: nothing. Give some."
        assert "Traceback" not in done.stderr and message in done.stderr
    elif how == "disk":
        assert done.returncode == 64
        assert "The disk is full" in message
    else:
        assert done.returncode == 1
        assert message == "ZeroDivisionError: a stage's own bug"
        assert "Traceback" in done.stderr and "in _fail" in done.stderr


def test_a_long_message_is_cut_at_a_character(stage: FrozenStage, tmp_path: Path) -> None:
    text = stage.model_copy(update={"name": "é" * 5000, "shards": 1}).model_dump_json()
    _run(text, "--shard", "7", MISSTEP_TERMINATION_LOG=str(tmp_path / "message"))
    assert 4000 < len((tmp_path / "message").read_bytes()) <= 4096
    (tmp_path / "message").read_text()


@pytest.mark.parametrize(
    "argument", ["{", '{"kind": "sample"}', "no/such/file.json", "file:///no/such/file.json", "gs://x/y"]
)
def test_stages_that_do_not_parse(argument: str) -> None:
    done = _run(argument)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr


def test_parameters_that_do_not_fit_the_kind(stage: FrozenStage) -> None:
    done = _run(stage.model_copy(update={"params": {"split": "test"}}).model_dump_json())
    assert done.returncode == 64
    assert "same version of Misstep" in done.stderr


@pytest.mark.parametrize("args", [[], ["{}", "--shard", "x"], ["{}", "--nonsense"]])
def test_wrong_usage_is_bad_input(args: list[str]) -> None:
    done = _run(*args)
    assert done.returncode == 64
    assert "usage: misstep stage" in done.stderr


def test_the_shard_comes_from_the_job(stage: FrozenStage, storage: Storage) -> None:
    text = stage.model_copy(update={"shards": 4}).model_dump_json()
    assert _run(text, JOB_COMPLETION_INDEX="2").returncode == 0
    assert m.finished_blocks(open_store(storage), stage.key) == {4: {2}}
    assert _run(text, "--shard", "1", JOB_COMPLETION_INDEX="2").returncode == 0
    assert m.finished_blocks(open_store(storage), stage.key) == {4: {1, 2}}
    assert _run(text, JOB_COMPLETION_INDEX="x").returncode == 64


def test_logs_as_json(stage: FrozenStage) -> None:
    done = _run(stage.model_dump_json(), MISSTEP_LOG_FORMAT="json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["block finished"] * 4 + ["committed"]
    for line in lines:
        assert (line["stage"], line["name"], line["shard"]) == (stage.key, stage.name, 0)
        assert line["level"] == "info" and line["timestamp"].endswith("Z")
    assert lines[0]["rows"] == {"samples": 3}
    failed = _run(stage.model_copy(update={"key": "sample-" + "1" * 20}).model_dump_json(), WORK_FAIL="1:error")
    assert "ZeroDivisionError" in failed.stderr
    failed = _run(
        stage.model_copy(update={"key": "sample-" + "2" * 20}).model_dump_json(),
        WORK_FAIL="1:error",
        MISSTEP_LOG_FORMAT="json",
    )
    assert "ZeroDivisionError" in json.loads(failed.stderr.splitlines()[-1])["exception"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_cleanly(
    stage: FrozenStage, storage: Storage, notes: Path, number: signal.Signals, code: int
) -> None:
    process = _start(stage.model_dump_json(), WORK_FAIL="2:hang")
    _await(notes, "block 2")
    process.send_signal(number)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == code, err
    assert "Traceback" not in err and "ended by a signal" in err
    assert notes.read_text().endswith("close sample\n")
    store = open_store(storage)
    assert m.finished_blocks(store, stage.key) == {4: {0, 1}}
    assert list(store.list(".tmp/")) == []
    assert _run(stage.model_dump_json()).returncode == 0


@pytest.mark.parametrize("kind", ["local", "versitygw"])
def test_processes_at_once_commit_once(
    kind: str, stage: FrozenStage, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "versitygw":
        servers.credentials(monkeypatch)
        storage = servers.s3_storage(request.getfixturevalue("versitygw_endpoint"), "at-once")
        stage = stage.model_copy(update={"storage": storage})
    processes = [_start(stage.model_dump_json(), WORK_SECONDS="0.2") for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    store = open_store(stage.storage)
    manifest = m.read_manifest(store, stage.key)
    assert manifest is not None and manifest.tables() == {"samples": 12}
    receipts = {f"{stage.key}/blocks/{block:05d}-of-00004.json" for block in range(4)}
    expected = {f"{stage.key}/manifest.json", *receipts, *(f"{stage.key}/{part.path}" for part in manifest.parts)}
    assert {entry.path for entry in store.list("")} == expected


def _await(notes: Path, line: str) -> None:
    for _ in range(600):
        if line in notes.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{line!r} never came")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path, notes: Path) -> None:
    undisturbed = making.samples(Storage(uri=f"file://{tmp_path}/undisturbed"), blocks=12, rows=200)
    assert _run(undisturbed.model_dump_json()).returncode == 0
    expected = m.read_manifest(open_store(undisturbed.storage), undisturbed.key)
    stage = making.samples(Storage(uri=f"file://{tmp_path}/killed"), blocks=12, rows=200)
    store, moments, kills = open_store(stage.storage), random.Random(7), 0
    notes.write_text("")
    while m.read_manifest(store, stage.key) is None:
        finished = m.finished_blocks(store, stage.key).get(12, set())
        notes.write_text("")
        process = _start(stage.model_dump_json(), WORK_SECONDS="0.1")
        begun = moments.randint(1, 4)
        while process.poll() is None and notes.read_text().count("block") < begun:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.15))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        rerun = {int(line.split()[1]) for line in notes.read_text().splitlines() if line.startswith("block")}
        assert not rerun & finished, "a committed block was computed again"
    assert kills >= 3
    found = m.read_manifest(store, stage.key)
    assert found is not None and expected is not None
    assert found.parts == expected.parts and found.summary == expected.summary
    for part in found.parts:
        mine, other = (f"{s.key}/{part.path}" for s in (stage, undisturbed))
        assert store.get(mine) == open_store(undisturbed.storage).get(other)


def test_a_stage_from_s3(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch)
    storage = servers.s3_storage(moto_endpoint, "frozen")
    stage = making.samples(storage)
    open_store(storage).put("plan/stage.json", stage.model_dump_json().encode())
    uri = f"{storage.uri}/plan/stage.json"
    assert load_stage(uri, moto_endpoint, path_style=True) == stage
    done = _run(uri, "--endpoint", moto_endpoint, "--path-style")
    assert done.returncode == 0, done.stderr
    assert "store opened: s3://artifacts/frozen" in done.stderr
    assert servers.SECRET not in done.stderr


def test_a_wrong_option_is_answered_without_heavy_imports() -> None:
    code = "import sys\nfrom misstep.stages import main\ntry:\n    main.main(['--nonsense'])\nfinally:\n    "
    code += "print([n for n in ('pydantic', 'structlog', 'pyarrow', 'botocore', 'torch') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64
    assert done.stdout == "[]\n"
