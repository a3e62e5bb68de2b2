from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts.export import export
from misstep.artifacts.output import Output
from misstep.artifacts.records import TRAINING_LOG
from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from tests.artifacts.making import commit_model, commit_samples, finish_block, frozen, sample_rows

ROWS = [*sample_rows(0, 6).to_pylist(), *sample_rows(100, 4).to_pylist()]


def test_jsonl(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    export(store, stage.key, None, "jsonl", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ROWS
    assert "é" in (tmp_path / "out.jsonl").read_text()


def test_csv(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    export(store, stage.key, "samples", "csv", tmp_path / "deep" / "out.csv")
    with (tmp_path / "deep" / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["token_ids"]) for row in rows] == [row["token_ids"] for row in ROWS]
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]


def test_what_json_has_no_word_for(local: Store, tmp_path: Path) -> None:
    row = {field.name: None if field.nullable else 1 for field in TRAINING_LOG} | {"loss": float("nan")}
    stage = frozen(StageKind.SFT, {"x": 1})
    finish_block(local, stage, 0, 1, Output(tables={"log": pa.Table.from_pylist([row], TRAINING_LOG)}), tmp_path)
    m.commit(local, stage, 1)
    export(local, stage.key, "log", "jsonl", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["loss"] is None


@pytest.mark.parametrize("storage", ["local", "moto"], indirect=True)
def test_a_dataset_folder_that_datasets_loads(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = commit_samples(store, tmp_path, rows=(6, 0, 4))
    export(store, stage.key, None, "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## samples: 10 rows" in card and "| `token_ids` | `list<item: int32>` | no |" in card
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == [*sample_rows(0, 6).to_pylist(), *sample_rows(200, 4).to_pylist()]


def test_a_dataset_folder_of_several_tables(local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = frozen(StageKind.SFT, {"x": 1})
    row = {field.name: None if field.nullable else 1 for field in TRAINING_LOG}
    finish_block(local, stage, 0, 1, Output(tables={"log": pa.Table.from_pylist([row], TRAINING_LOG)}), tmp_path)
    m.commit(local, stage, 1)
    export(local, stage.key, None, "hf", tmp_path / "out")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tmp_path / "out"), "log", split="train", cache_dir=str(tmp_path / "c"))
    assert loaded.num_rows == 1
    assert datasets.get_dataset_config_names(str(tmp_path / "out")) == ["log"]
    assert "## selection: 0 rows" in (tmp_path / "out" / "README.md").read_text()


def test_models_and_files(store: Store, tmp_path: Path) -> None:
    stage = commit_model(store, tmp_path, weights=b"w" * 100)
    export(store, stage.key, None, "model", tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == b"w" * 100
    assert (tmp_path / "model" / "config.json").stat().st_nlink == 1
    (tmp_path / "model" / "config.json").write_text("a copy may be changed")
    export(store, stage.key, None, "files", tmp_path / "files")
    assert (tmp_path / "files" / "model" / "config.json").read_text() == "{}"


def test_what_cannot_be_exported(local: Store, tmp_path: Path) -> None:
    samples, model = commit_samples(local, tmp_path).key, commit_model(local, tmp_path).key
    (tmp_path / "exists").write_text("x")
    for key, table, form, out, problem in [
        (samples, None, "jsonl", "exists", "--out.*exists already"),
        (samples, "nonsense", "csv", "new", "--table.*Choose one of samples"),
        (model, None, "csv", "new", "--table.*Choose one of log, selection"),
        (samples, None, "model", "new", "holds no model/"),
        (samples, None, "parquet", "new", "--format.*Choose one of jsonl"),
    ]:
        with pytest.raises(BadInput, match=problem):
            export(local, key, table, form, tmp_path / out)  # type: ignore[arg-type]
    with pytest.raises(m.NotCommittedError):
        export(local, "sample-" + "0" * 20, None, "jsonl", tmp_path / "new")
    assert (tmp_path / "exists").read_text() == "x"
    assert not (tmp_path / "new").exists()


def test_a_damaged_part_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    part = m.read_manifest(store, stage.key).parts[1]  # type: ignore[union-attr]
    store.put(f"{stage.key}/{part.path}", b"rubbish")
    (tmp_path / "out").mkdir()
    for form in ("jsonl", "csv", "hf"):
        with pytest.raises(m.Damaged, match=part.path):
            export(store, stage.key, None, form, tmp_path / "out" / "x")
        assert os.listdir(tmp_path / "out") == []  # noqa: PTH208 - hidden files count too
