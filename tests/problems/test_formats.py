"""Real files and wrong files, of every format."""

from __future__ import annotations

import json
from decimal import Decimal
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
        ('{"q": "x", "s": ""}', "reads the column a, which t.jsonl does not have. The columns are: q, s."),
        (
            '{"q": "x", "a": {"b": 1}, "s": ""}',
            "column a of t.jsonl holds an object with b at line 1. Name what is inside",
        ),
        ('{"q": "x", "a": true, "s": ""}', "columns.answer: column a of t.jsonl holds true"),
        ('{"q": "x", "a": 1, "a": 2, "s": ""}', "t.jsonl, line 1: the column a is repeated with different values"),
        ('{"q": "x", "a": 1e999999999999999999999, "s": ""}', "is too large"),
        ('{"q": "x", "a": ' + "1" * 5000 + ', "s": ""}', "This is not JSON"),
        ('{"q": "x", "a": 1, "s": ""}\n{"q": "y", "a":', "The file ends in the middle of it"),
        ('{"q": "x", "a": "1", "s": ""}\n{broken', "t.jsonl, line 2: {broken. This is not JSON"),
        ('{"q": "x", "a": 1},\n{"q": "y", "a": 2}]', "remove the comma or bracket after it"),
        ("Some words, and more of them follow\n", "This is not JSON"),
        ("[1]", "must be a JSON object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(BadInput) as caught:
        read(TABLE, tmp_path / "t.jsonl")
    assert said in str(caught.value)


def one(folder: Path, content: str, **columns: str) -> RawProblem:
    (folder / "t.jsonl").write_text(content, encoding="utf-8", newline="")
    [found] = read(SourceParams(format="table", columns={"question": "q", "answer": "a"} | columns), folder / "t.jsonl")
    return found


@pytest.mark.parametrize(
    ("value", "gold", "reason"),
    [
        ("null", "", "empty"),
        ("NaN", "", "empty"),
        ('""', "", "empty"),
        ('" \\t"', "", "empty"),
        ("[]", "", "empty"),
        ("4.0", "4", ""),
        ("0.30", "0.30", ""),
        ("1e3", "1000", ""),
        ("123456789012345678901234567890", "123456789012345678901234567890", ""),
        ('["4"]', "4", ""),
        ('"[\\"4\\"]"', "4", ""),
    ],
)
def test_golds_as_data_sets_write_them(tmp_path: Path, value: str, gold: str, reason: str) -> None:
    found = one(tmp_path, f'{{"q": "x", "a": {value}}}')
    assert (found.gold, found.reason) == (gold, reason)


def test_marks_of_byte_order_lines_of_windows_and_a_last_line_without_end(tmp_path: Path) -> None:
    lines = '\ufeff{"q": "x", "a": 1}\r\n\r\n\ufeff{"q": "y", "a": 2}\r\n{"q": "z", "a": 3}'
    (tmp_path / "t.jsonl").write_bytes(lines.encode())
    params = SourceParams(format="table", columns={"question": "q", "answer": "a"})
    assert [(p.question, p.gold, p.where) for p in read(params, tmp_path / "t.jsonl")] == [
        ("x", "1", "line 1"),
        ("y", "2", "line 3"),
        ("z", "3", "line 4"),
    ]


def test_a_column_that_some_rows_do_not_have_is_empty_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {"q": "x", "a": "1"}, {"q": "y", "a": "2", "s": "#### 2"}, {"s": "#### 3"})
    assert [(p.question, p.gold, p.solution) for p in read(TABLE, path)] == [
        ("x", "1", None),
        ("y", "2", "#### 2"),
        ("", "", "#### 3"),
    ]


def test_a_nested_table_as_reinforcement_learning_has_it_is_read_from_both_kinds_of_file(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": f"Solve: {i}? Go."}],
            "reward_model": {"ground_truth": str(i), "style": "rule"},
            "answers": [str(i), "other"],
        }
        for i in range(3)
    ]
    write(tmp_path / "t.jsonl", *rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for answer in ("reward_model.ground_truth", "answers.0"):
        params = SourceParams(
            format="table",
            columns={"question": "prompt", "answer": answer},
            marks={"question_after": "Solve:", "question_before": "Go."},
        )
        for name in ("t.jsonl", "t.parquet"):
            found = read(params, tmp_path / name)
            assert [(p.question, p.gold) for p in found] == [(f"{i}?", str(i)) for i in range(3)]
            assert all("system turn of the question is left out" in remark for p in found for remark in p.remarks)
            assert all(p.remarks for p in found)


def test_types_of_parquet_are_texts(tmp_path: Path) -> None:
    columns = {
        "q": pa.array(["one?", "two?"]).dictionary_encode(),
        "a": pa.array([Decimal("1.00"), None], pa.decimal128(10, 2)),
        "s": pa.array(["#### 1", None], pa.large_string()),
        "m": pa.array([[("k", "7")], [("k", "8")]], pa.map_(pa.string(), pa.string())),
        "f": pa.array([4.0, float("nan")]),
        "i": pa.array([2**62, 3]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = read(TABLE, tmp_path / "t.parquet")
    assert [(p.question, p.gold, p.solution) for p in found] == [("one?", "1", "#### 1"), ("two?", "", None)]
    for column, golds in {"m.k": ["7", "8"], "f": ["4", ""], "i": [str(2**62), "3"]}.items():
        params = SourceParams(format="table", columns={"question": "q", "answer": column, "id": "i"})
        found = read(params, tmp_path / "t.parquet")
        assert [p.gold for p in found] == golds and found[0].source_id == str(2**62)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["1"]), pa.array(["2"])], names=["q", "a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="two columns named a"):
        read(TABLE, tmp_path / "t.parquet")


def test_a_parquet_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"q": "x", "a": "1", "s": ""}] * 999), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="Copy or download it again"):
        read(TABLE, tmp_path / "t.parquet")


def test_a_folder_of_parts_is_read_in_order(tmp_path: Path) -> None:
    rows = [{"q": f"{i}?", "a": str(i), "s": "x"} for i in range(4)]
    for part in (0, 1):
        pq.write_table(pa.Table.from_pylist(rows[2 * part :][:2]), tmp_path / f"train-0000{part}-of-00002.parquet")
    assert [p.gold for p in read(TABLE, tmp_path)] == ["0", "1", "2", "3"]
    assert [p.where for p in read(TABLE, tmp_path)][2] == "train-00001-of-00002.parquet, row 1"


def test_gsm8k_and_math_under_other_names_of_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", {"Q": "x", "A": "3+1=<<3+1=4>>4\n#### 4", "S": "so \\boxed{4}"})
    [gsm8k] = read(SourceParams(format="gsm8k", columns={"question": "Q", "answer": "A"}), path)
    assert (gsm8k.question, gsm8k.gold, gsm8k.solution) == ("x", "4", "3+1=4\n#### 4")
    [math] = read(SourceParams(format="math", columns={"question": "Q", "solution": "S"}), path)
    assert (math.question, math.gold, math.solution) == ("x", "4", "so \\boxed{4}")


def test_metamaths_answer_stands_behind_its_mark(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        {"query": "x", "response": "3+1=4\n#### 4\nThe answer is: 4"},
        {"query": "y", "response": "no"},
    )
    params = SourceParams(
        format="table",
        columns={"question": "query", "answer": "response", "solution": "response"},
        marks={"answer_after": "The answer is:"},
    )
    assert [(p.gold, p.reason) for p in read(params, path)] == [("4", ""), ("", "marker")]


def test_wrong_kinds_of_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("no parquet")
    (tmp_path / "t.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "t.csv").write_text("a,b")
    for name in ("t.parquet", "t.jsonl", "t.csv"):
        with pytest.raises(BadInput):
            read(TABLE, tmp_path / name)


def test_the_hub_out_of_reach_says_how_to_use_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for constants in ("datasets.config", "huggingface_hub.constants"):  # they read the variable once, when imported
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="--data NAME=FOLDER"):
        list(hub_rows("hf://datasets/no-such-org/no-such-set@" + "0" * 40 + "#main/train"))


def test_strides_without_a_number_is_refused() -> None:
    with pytest.raises(BadInput, match="how many"):
        read_source(SourceParams(format="strides"), None, "train")
