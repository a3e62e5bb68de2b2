"""``misstep upload``: what it prints is the same experiment, with the same keys, from copies in a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from misstep.cli.app import main
from misstep.plan.planner import Plan, plan
from misstep.sources import architecture, resolve
from misstep.spec import load_experiment
from misstep.spec.load import ExperimentLoader
from misstep.spec.rewrite import yaml_text
from misstep.store.description import Storage
from tests.artifacts.conftest import moto_endpoint, storage, versitygw_endpoint

__all__ = ["moto_endpoint", "storage", "versitygw_endpoint"]

EXPERIMENT = """
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {name: e, labels: {"on": "no", size: "1e3"}}
spec:
  problems:
    train: {format: gsm8k, path: data, split: learn, limit: 90}
    validation: {format: math, name: check, hub: org/set, revision: REVISION, config: main, split: dev}
    sizes: [1, 2]  # comments go
  policy: {model: {name: base, path: base}, prompt: {template: "Q: {question}\\nA:"}}
  training: {dpo: {learningRate: "5e-7"}}
""".replace("REVISION", "a" * 40)
SHAPE = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("data", "check/dev", "base"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/learn.jsonl").write_text('{"question": "?", "answer": "#### 1"}\n')
    (tmp_path / "data/test.jsonl").write_text('{"question": "!", "answer": "#### 2"}\n')
    (tmp_path / "check/dev/1.json").write_text("{}")
    (tmp_path / "base/config.json").write_text(json.dumps({**SHAPE, "vocab_size": 10, "model_type": "llama"}))
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    return path


def uploaded(file: Path, storage: Storage, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Plan, str, str]:
    """Upload from a YAML that says how the store is reached; return the plan of what is printed, and what is."""
    given = yaml.safe_load(EXPERIMENT)
    names = {"endpoint": "endpoint", "region": "region", "path_style": "pathStyle"}
    given["spec"]["storage"] = {name: value for key, name in names.items() if (value := getattr(storage, key))}
    file.write_text(yaml_text(given))
    assert main(["upload", str(file), "--storage", storage.uri, *options]) == 0
    out, err = capsys.readouterr()
    elsewhere = file.parent / "elsewhere" / "e.yaml"  # where no relative path leads anywhere
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_text(out)
    copy = load_experiment(elsewhere)
    return plan(copy, resolve(copy)), out, err


def test_keys_of_the_copies_are_those_of_the_folders(
    file: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    local = load_experiment(file)
    folders = {"check": str(file.parent / "check")}
    here = plan(local, resolve(local, folders))
    there, out, err = uploaded(file, storage, capsys, "--data", f"check={folders['check']}")
    assert [stage.key for stage in there.stages] == [stage.key for stage in here.stages]
    assert "4 of 4 are copies" in err and "learn.jsonl (sent)" in err
    spec = yaml.safe_load(out)["spec"]
    assert spec["problems"]["test"].keys() == {"format", "uri", "digest"}
    assert spec["problems"]["validation"].keys() == {"format", "name", "uri", "digest"}
    externals = {role: e for stage in there.stages for role, e in stage.externals.items()}
    assert all(e.uri.startswith(f"{storage.uri}/external/") for e in externals.values())
    shape = architecture(externals["model"], there.storage)
    assert shape is not None and shape.hidden == 8
    assert "learn.jsonl (there already)" in uploaded(file, storage, capsys)[2]


def test_a_file_that_would_be_training_and_test_is_not_uploaded(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--storage", f"file://{tmp_path}/store", "--data", f"gsm8k={tmp_path}/data/learn.jsonl"]
    assert main(["upload", str(file), *options]) == 64
    assert "spec.problems.test: not given. Training takes the same problems" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_what_is_on_the_hub_stays_there(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Storage(uri=f"file://{tmp_path}/store")
    there, out, err = uploaded(file, place, capsys)
    assert "3 of 4 are copies" in err
    assert yaml.safe_load(out)["spec"]["problems"]["validation"]["hub"] == "org/set"
    assert there.stages[0].externals["source_validation"].uri.startswith("hf://datasets/org/set@")
    assert main(["artifacts", "ls", "--storage", place.uri]) == 0
    assert "3 uploaded copies of data and models" in capsys.readouterr().out
    assert main(["artifacts", "gc", str(file), "--storage", place.uri, "--grace-hours", "0", "--apply"]) == 0
    assert "removed 0 B" in capsys.readouterr().out, "the experiment is made from the same contents"


def test_what_lies_in_a_folder_store_moves_on_to_another(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, out, _ = uploaded(file, Storage(uri=f"file://{tmp_path}/a store"), capsys)
    file.write_text(out)
    assert main(["upload", str(file), "--storage", f"file://{tmp_path}/other"]) == 0
    out = capsys.readouterr().out
    assert "a%20store" not in out
    file.write_text(out)
    moved = load_experiment(file)
    assert [s.key for s in plan(moved, resolve(moved)).stages] == [s.key for s in first.stages]


def test_texts_are_printed_so_that_every_parser_reads_texts() -> None:
    texts = [
        "1e-5",
        "0.7",
        "no",
        "y",
        "on",
        "null",
        "~",
        "0x1F",
        "1_000",
        "12:30",
        "2024-01-01",
        "",
        "a: b",
        "é",
        "a\nb\n",
    ]
    text = yaml_text({"texts": texts})
    assert yaml.load(text, ExperimentLoader) == {"texts": texts}
    assert [token.value for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken) and token.plain] == [
        "texts"
    ]
