"""`misstep credit` on the tiny real model: the documented command, resume, kills, shards, labels, refusals."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from misstep.cli.app import main
from misstep.problems.strides import first_error
from misstep.spec.credit import Credit, Pairs
from misstep.spec.policy import Sampling

ROOT = Path(__file__).parents[2]
EXAMPLE, MODEL = ROOT / "examples" / "strides-responses.jsonl", ROOT / "examples" / "quickstart-base"
COMMON = ("--model", MODEL, "--max-new-tokens", 48, "--temperature", 1, "--block", 6)


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["credit", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def results(folder: Path) -> dict[str, object]:
    """All results of a folder that do not name it."""
    tables = {file.name: pq.read_table(file).to_pylist() for file in folder.glob("*.parquet")}
    return tables | {file.name: file.read_text() for file in folder.glob("*.json*") if file.name != "settings.json"}


def responses(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "responses.parquet").to_pylist()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(["credit", str(EXAMPLE), *map(str, COMMON), "--out", str(out)]) == 0
    return out


def test_the_documented_command_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "credit-a-file.md").read_text()
    commands = re.findall(r"^(misstep credit examples/(?:.*\\\n)*.*)$", page, re.MULTILINE)
    assert len(commands) == 2
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command.replace("\\\n", " "))[1:]) == 0
    _, shown = capsys.readouterr(), json.loads((tmp_path / "credited" / "summary.json").read_text())
    assert shown["credit"]["pits"] > 20
    for line in re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE):
        if line.endswith((".parquet", ".json", ".jsonl")) and not line.startswith("positive"):
            assert (tmp_path / "credited" / line).exists(), line


def test_every_row_of_the_file_is_in_the_responses(whole: Path) -> None:
    rows = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
    found = responses(whole)
    assert sorted(row["text"] for row in found) == sorted(row["response"] for row in rows)
    summary = json.loads((whole / "summary.json").read_text())
    assert sum(summary["plan"]["status"].values()) == len(rows)
    for row in found:
        assert "".join(row["steps"]) == row["text"]
        if row["pit"] is not None:
            assert row["labels"][row["pit"] - 1] is False
            assert len(row["q"]) == len(row["steps"]) + 1 == len(row["alive"])


def test_rows_for_trl_have_the_labels_of_the_responses(whole: Path) -> None:
    made = [json.loads(line) for line in (whole / "trl-stepwise.jsonl").read_text().splitlines()]
    expected: dict[tuple[str, str], tuple[list[str], list[bool]]] = {}
    for row in responses(whole):
        if row["labels"] is not None:
            known = [
                (step, label) for step, label in zip(row["steps"], row["labels"], strict=True) if label is not None
            ]
            steps, labels = [step.removesuffix("\n") for step, _ in known], [label for _, label in known]
            expected.setdefault((row["problem_id"], row["text"]), (steps, labels))
        correct, blamed = row["verdict"] == "correct", row["pit"] is not None
        assert (row["labels"] is not None) == (correct or blamed) or row["status"] != "credited"
    assert [(row["completions"], row["labels"]) for row in made] == list(expected.values())
    assert {len(set(row["labels"])) for row in made} == {1, 2}


def test_a_second_run_says_that_all_is_done_and_changes_nothing(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    before = results(out)
    monkeypatch.setattr("misstep.generation.engines.open_engine", lambda *_: pytest.fail("the model is loaded"))
    code, said, _ = run(capsys, EXAMPLE, *COMMON, "--out", out)
    assert code == 0
    assert "4 of 4 blocks are finished already" in said
    assert results(out) == before


def test_two_shards_give_what_one_run_gives(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, said, _ = run(capsys, EXAMPLE, *COMMON, "--out", out, "--shard", "2/2")
    assert code == 0
    assert "2 blocks of other shards are left" in said
    assert not (out / "summary.json").exists()
    assert run(capsys, EXAMPLE, *COMMON, "--out", out, "--shard", "1/2")[0] == 0
    assert results(out) == results(whole)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "misstep", "credit", str(EXAMPLE), *map(str, COMMON), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 120
    while not (out / "blocks" / "00000").is_dir():
        assert process.poll() is None or (out / "blocks" / "00000").is_dir()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (out / "blocks" / "00000" / "negatives.parquet").stat().st_mtime_ns
    assert main(command[3:]) == 0
    assert (out / "blocks" / "00000" / "negatives.parquet").stat().st_mtime_ns == first
    assert results(out) == results(whole)


def test_a_dry_run_writes_nothing_and_loads_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("misstep.generation.engines.open_engine", lambda *_: pytest.fail("the model is loaded"))
    code, said, _ = run(capsys, EXAMPLE, *COMMON, "--dry-run")
    assert code == 0
    assert "96 rows, 24 problems, 96 responses: 20 correct, 76 wrong, 0 unreadable" in said
    assert "responses to credit" in said
    assert "rollouts and" in said
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_input_or_other_settings_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, EXAMPLE, *COMMON, "--out", whole, "--seed", 7)
    assert code == 64
    assert "other settings: seed was 0, now 7" in err
    other = tmp_path / "other.jsonl"
    other.write_text(EXAMPLE.read_text().replace("start 13", "start 14", 1))
    code, _, err = run(capsys, other, *COMMON, "--out", whole)
    assert code == 64
    assert "the file's contents are others" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, _, err = run(capsys, EXAMPLE, *COMMON, "--out", tmp_path / "mine")
    assert code == 64
    assert "It is no folder of misstep credit" in err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def labelled(folder: Path) -> Path:
    """The example with its steps and the true first wrong step of each."""
    path = folder / "labelled.jsonl"
    with path.open("w") as file:
        for line in EXAMPLE.read_text().splitlines():
            row = json.loads(line)
            steps = row["response"].split("\n")
            offset = first_error(row["question"], row["response"])
            label = -1 if offset is None else row["response"].count("\n", 0, offset)
            file.write(
                json.dumps({"question": row["question"], "answer": row["answer"], "steps": steps, "label": label})
            )
            file.write("\n")
    return path


def test_labels_are_compared_and_given_steps_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = labelled(tmp_path), tmp_path / "out"
    code, said, _ = run(capsys, file, *COMMON, "--steps", "steps", "--labels", "label", "--out", out, "--jsonl",
                        "--positives-per-problem", 1, "--max-steps", 1)  # fmt: skip
    assert code == 0
    found = json.loads((out / "summary.json").read_text())["labels"]
    assert found["wrong"] + found["correct"] + found["left_out"] == 96
    assert found["exact"] > found["before"] + found["after"]
    assert "A pit is a value under a policy" in said
    assert f"F1 {found['f1']:.1f}%" in said
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    given = {"\n".join(row["steps"]): row for row in rows}
    for row in (json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()):
        assert [step.removesuffix("\n") for step in row["steps"]] == given[row["text"]]["steps"]
    assert pq.read_table(out / "positives.parquet").num_rows > 5


def test_own_samples_need_fewer_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(capsys, EXAMPLE, *COMMON, "--own", "--best-of", 3, "--out", out)[0] == 0
    prefixes = pq.read_table(out / "prefixes.parquet").to_pylist()
    assert all(row["generated_tokens"] == 0 for row in prefixes if row["step"] == 0)


def test_text_that_the_tokenizer_changes_is_counted_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out"
    rows = [json.loads(line) for line in EXAMPLE.read_text().splitlines()[:8]]
    rows[0]["response"] = "I think it is\n#### 99"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, said, _ = run(capsys, file, *COMMON, "--out", out)
    assert code == 0
    assert "1, the model's tokenizer changes the text" in said
    assert "line 1: 'I think it is" in said
    assert json.loads((out / "summary.json").read_text())["plan"]["status"]["changed-by-tokenizer"] == 1
    assert responses(out)[0]["status"] == "changed-by-tokenizer"


def test_a_file_with_nothing_to_credit_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out"
    right = [line for line in EXAMPLE.read_text().splitlines() if json.loads(line)["response"].endswith(
        f"#### {json.loads(line)['answer']}")]  # fmt: skip
    file.write_text("\n".join(right) + "\n")
    code, said, _ = run(capsys, file, *COMMON, "--out", out)
    assert code == 0
    assert "0 responses to credit" in said
    assert len(responses(out)) == len(right)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--model", "/nowhere"), "--model: /nowhere. This is no Hugging Face model folder"),
        (("--model", "s3://a/b"), "--model: s3://a/b. Give a folder on this machine"),
        (("--rollouts", 2), "--rollouts: 2. Best-of-5 needs at least 5"),
        (("--estimator", "best"), "--estimator: best. Write one of adaptive"),
        (("--step-rule", "words"), "--step-rule: words. Write one of lines"),
        (("--preset", "gsm"), "--preset: gsm. Write one of gsm8k-base"),
        (("--template", "{question}"), "--template"),
        (("--style", "plain", "--template", "Q"), "Write {question} at the place of the question"),
        (("--style", "chat"), "chat"),
        (("--gold", "golden"), "--gold: golden. There is no such column."),
        (("--shard", "3/2"), "--shard: 3/2."),
        (("--vllm-arg", "x"), "--vllm-arg: x. Write NAME=VALUE"),
    ],
)
def test_wrong_options_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], message: str
) -> None:
    code, _, err = run(capsys, EXAMPLE, *COMMON, "--out", tmp_path / "out", *more)
    assert code == 64
    assert message in err
    assert not (tmp_path / "out").exists()


def test_without_out_or_dry_run_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, EXAMPLE, *COMMON)
    assert code == 64
    assert "--out: not given" in err


def test_defaults_are_those_of_an_experiment() -> None:
    import inspect

    from misstep.cli.credit import credit

    defaults = {name: parameter.default for name, parameter in inspect.signature(credit).parameters.items()}
    names = Credit.model_fields.keys() - {"audit_percent"}
    assert {name: defaults[name] for name in names} == {name: getattr(Credit(), name) for name in names}
    sampling = ("engine", "temperature", "top_p", "max_new_tokens", "dtype")
    assert {name: defaults[name] for name in sampling} == {name: getattr(Sampling(), name) for name in sampling}
    assert defaults["pairs_per_problem"] == Pairs().per_problem
