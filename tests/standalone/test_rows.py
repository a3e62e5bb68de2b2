"""Reading a file: columns, problems, lists of responses and steps, and what each row that gives none is counted as."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.standalone.columns import Columns
from misstep.standalone.rows import read_file

ROW = {"question": "1+1?", "answer": "2", "response": "It is 3."}


def written(folder: Path, *rows: dict[str, Any], name: str = "in.jsonl") -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(folder: Path, *rows: dict[str, Any], join: str = "\n", **columns: str):
    return read_file(written(folder, *rows), Columns(**columns), join)


def texts(found) -> list[str]:
    return [given.text for problem in found.problems.values() for given in problem.responses]


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
def test_usual_names_are_found_and_rows_of_one_question_are_one_problem(tmp_path: Path, name: str) -> None:
    rows = [ROW, {**ROW, "response": "2"}, {**ROW, "question": "2+2?", "answer": "4"}]
    found = read_file(written(tmp_path, *rows, name=name), Columns(), "\n")
    assert found.columns.asked == {"--question": "question", "--gold": "answer", "--response": "response"}
    assert [len(problem.responses) for problem in found.problems.values()] == [2, 1]
    assert [given.sample for given in next(iter(found.problems.values())).responses] == [0, 1]


def test_a_gold_column_comes_before_one_named_answer(tmp_path: Path) -> None:
    found = read(tmp_path, {"problem": "1+1?", "gold": "2", "answer": "3", "completion": "x"})
    assert found.columns.gold == "gold"
    assert found.columns.question == "problem"


def test_a_list_of_responses_is_several_and_a_list_of_steps_is_one(tmp_path: Path) -> None:
    found = read(tmp_path, {**ROW, "response": ["a", "b", None]})
    assert texts(found) == ["a", "b"]
    assert found.empty == {"no-response": 1}
    found = read(tmp_path, {**ROW, "steps": ["a", "bc"], "label": 1}, steps="steps", labels="label", join="\n\n")
    (response,) = next(iter(found.problems.values())).responses
    assert response.text == "a\n\nbc"
    assert response.step_ends == (3, 5)
    assert response.label == 1


def test_white_space_of_a_response_is_its_own(tmp_path: Path) -> None:
    assert texts(read(tmp_path, {**ROW, "response": " 1 + 1 = 3\n"})) == [" 1 + 1 = 3\n"]


@given(steps=st.lists(st.text(max_size=5), min_size=1, max_size=5), join=st.sampled_from(["", "\n", "\n\n"]))
def test_given_steps_join_to_the_text_and_end_where_they_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], join: str
) -> None:
    found = read(tmp_path_factory.mktemp("steps"), {**ROW, "steps": steps}, steps="steps", join=join)
    text = join.join(steps)
    if not text.strip():
        assert found.empty == {"no-response": 1}
        return
    (response,) = next(iter(found.problems.values())).responses
    assert response.text == text
    bounds = [0, *(response.step_ends or ())]
    assert [text[a:b] for a, b in pairwise(bounds)] == [
        *(step + join for step in steps[:-1]),
        steps[-1],
    ]


def test_rows_without_a_part_are_counted_by_reason(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [ROW, {**ROW, "question": ""}, {**ROW, "answer": None}, {**ROW, "response": "  "}]
    found = read(tmp_path, *rows)
    assert found.rows == 4
    assert found.empty == {"no-question": 1, "no-gold": 1, "no-response": 1}
    assert found.responses == 1


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        (ROW, {"question": "questions"}, "--question: questions. There is no such column. Did you mean question?"),
        ({"a": "1"}, {}, "--question: not given, and line 1 has none of question, problem"),
        (ROW, {"question": "question", "gold": "question"}, "They name the same column"),
        (ROW, {"response": "response", "steps": "response"}, "leave out --response"),
        (ROW, {"labels": "answer"}, "--steps"),
        (ROW, {"steps": "response"}, "Name a column with a list of texts"),
        (
            {**ROW, "steps": ["a", "b"], "label": 2},
            {"steps": "steps", "labels": "label"},
            "from 0 to 1 for its 2 steps",
        ),
        ({**ROW, "steps": ["a"], "label": True}, {"steps": "steps", "labels": "label"}, "or -1 for none"),
        ({**ROW, "answer": {"a": 1}}, {}, "answer holds an object with a"),
        ({**ROW, "id": None}, {"problem_id": "id"}, "Give every row its problem's id"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_option(tmp_path: Path, row, columns, message: str) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, row, **columns)
    assert message in str(error.value)


def test_one_id_for_two_problems_is_refused(tmp_path: Path) -> None:
    rows = [{**ROW, "id": "a"}, {**ROW, "id": "a", "question": "2+2?"}]
    with pytest.raises(BadInput, match="another question in line 2"):
        read(tmp_path, *rows, problem_id="id")
    rows = [{**ROW, "id": "a"}, {**ROW, "id": "a", "answer": "so it is\n#### 2"}]
    assert len(read(tmp_path, *rows, problem_id="id").problems) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "It has no rows"), (b"PAR1", "Parquet"), (b"{]\n", "not JSON"), (b"\x1f\x8b00", "gzip"), (b"[{}]", "array")],
)
def test_nonsense_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_file(path, Columns(), "\n")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_file(tmp_path / "no.jsonl", Columns(), "\n")
