"""Real files and wrong files, of every format."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misstep.errors import BadInput
from misstep.plan.params import SourceParams
from misstep.problems.formats import hub_rows, read_source
from misstep.problems.raw import RawProblem
from tests.shared_data import shared_data

TABLE = SourceParams(format="table", columns={"question": "q", "answer": "a", "solution": "s"})


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(params: SourceParams, path: Path) -> list[RawProblem]:
    return list(read_source(params, path, "train"))


def test_all_of_gsm8k_is_read() -> None:
    problems = read(SourceParams(format="gsm8k"), shared_data("gsm8k") / "test.jsonl")
    assert len(problems) == 1319
    assert all(p.gold and p.solution and "<<" not in p.solution for p in problems)
    assert problems[0].gold == "18"


def test_all_of_math_is_read() -> None:
    problems = read(SourceParams(format="math"), shared_data("math") / "train.jsonl")
    assert len(problems) == 7500
    assert sum(not p.gold for p in problems) == 2, "two of the official solutions box nothing"


def test_maths_folders_of_json_are_read_in_order(tmp_path: Path) -> None:
    for number in (10, 9):
        folder = tmp_path / "train" / "algebra"
        folder.mkdir(parents=True, exist_ok=True)
        row = {"problem": f"p{number}", "solution": f"so \\boxed{{{number}}}", "level": "Level 1", "type": "Algebra"}
        (folder / f"{number}.json").write_text(json.dumps(row))
    assert [p.gold for p in read(SourceParams(format="math"), tmp_path / "train")] == ["9", "10"]


def test_jsonl_and_parquet_tables_are_the_same(tmp_path: Path) -> None:
    rows = [{"q": "one?", "a": 1, "s": "#### 1"}, {"q": "two?", "a": 2, "s": "#### 2"}]
    jsonl = write(tmp_path / "t.jsonl", *rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = [[(p.question, p.gold, p.solution) for p in read(TABLE, path)] for path in (jsonl, tmp_path / "t.parquet")]
    assert found[0] == found[1] == [("one?", "1", "#### 1"), ("two?", "2", "#### 2")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"q": "x", "s": ""}', "t.jsonl, column a: missing at line 1. The columns there are: q, s"),
        ('{"q": "x", "a": null, "s": ""}', "None at line 1. It must hold text or a number."),
        ('{"q": "x", "a": "1", "s": ""}\n{broken', "t.jsonl, line 2: {broken. This is no JSON"),
        ("[1]", "must be a JSON object"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(BadInput) as caught:
        read(TABLE, tmp_path / "t.jsonl")
    assert said in str(caught.value)


def test_wrong_kinds_of_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("no parquet")
    (tmp_path / "t.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "t.csv").write_text("a,b")
    for name in ("t.parquet", "t.jsonl", "t.csv"):
        with pytest.raises(BadInput):
            read(TABLE, tmp_path / name)


def test_the_hub_out_of_reach_says_how_to_use_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match="--data NAME=FOLDER"):
        list(hub_rows("hf://datasets/no-such-org/no-such-set@" + "0" * 40 + "#main/train"))


def test_strides_without_a_number_is_refused() -> None:
    with pytest.raises(BadInput, match="how many"):
        read_source(SourceParams(format="strides"), None, "train")
