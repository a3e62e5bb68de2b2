"""The suggestion for a file of another shape is a valid source that reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from misstep.errors import BadInput
from misstep.plan.params import SourceParams
from misstep.plan.translate import source_params
from misstep.problems.formats import read_source
from misstep.problems.suggest import suggest
from misstep.spec.problems import Source
from tests.shared_data import shared_data

Q = "How many are {i}?"
SHAPES: list[tuple[str, dict[str, Any], str]] = [
    ("gsm8k", {"question": Q, "answer": "<<1+{i}=1>>so\n#### {i}"}, "format: gsm8k"),
    (
        "capitals",
        {"Question": Q, "Answer": "so\n#### {i}"},
        "format: gsm8k, columns: {question: Question, answer: Answer}",
    ),
    (
        "with a solution",
        {"question": Q, "answer": "{i}", "solution": "so\n#### {i}"},
        "format: gsm8k, columns: {answer: solution}",
    ),
    ("math", {"problem": Q, "level": "Level 1", "solution": "so $\\boxed{{{i}}}$"}, "format: math"),
    (
        "renamed math",
        {"prompt": Q, "output": "\\boxed{{{i}}}"},
        "format: math, columns: {question: prompt, solution: output}",
    ),
    (
        "math500",
        {"problem": Q, "solution": "so $\\boxed{{{i}}}$", "answer": "{i}", "unique_id": "test/{i}.json"},
        "format: table, columns: {question: problem, answer: answer, solution: solution}",
    ),
    (
        "metamath",
        {"query": Q, "original_question": Q, "response": "1 + 1 gives {i}. The answer is: {i}", "type": "GSM"},
        "format: table, columns: {question: query, answer: response, solution: response, "
        'answerAfter: "The answer is:"}',
    ),
    (
        "dapo",
        {
            "prompt": [{"role": "user", "content": Q}],
            "reward_model": {"style": "rule", "ground_truth": "{i}"},
            "extra_info": {"index": "x-{i}"},
        },
        "format: table, columns: {question: prompt, answer: reward_model.ground_truth}",
    ),
    (
        "openmathinstruct",
        {
            "problem": Q,
            "generated_solution": "so it is \\boxed{{{i}}}.",
            "expected_answer": "{i}",
            "problem_source": "math",
        },
        "format: table, columns: {question: problem, answer: expected_answer, solution: generated_solution}",
    ),
    (
        "tagged",
        {"instruction": Q, "output": "<think>well, it must be so</think><answer>{i}</answer>"},
        'format: table, columns: {question: instruction, answer: output, solution: output, answerAfter: "<answer>", '
        'answerBefore: "</answer>"}',
    ),
    (
        "short solutions",
        {"question": Q, "response": "So. Answer: {i}"},
        'format: table, columns: {question: question, answer: response, solution: response, answerAfter: "Answer:"}',
    ),
    (
        "chats",
        {
            "id": "x-{i}",
            "messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": "so \\boxed{{{i}}}"}],
        },
        "format: math, columns: {question: messages, solution: messages}",
    ),
    (
        "strange names",
        {"Aufgabe!": Q, "yes": "so\n#### {i}"},
        'format: gsm8k, columns: {question: "Aufgabe!", answer: "yes"}',
    ),
]


def filled(value: Any, i: int) -> Any:
    if isinstance(value, dict):
        return {name: filled(inner, i) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, i) for inner in value]
    return value.format(i=i)


@pytest.mark.parametrize(("name", "shape", "expected"), SHAPES, ids=[name for name, _, _ in SHAPES])
def test_the_snippet_is_valid_and_reads_the_file(
    tmp_path: Path, name: str, shape: dict[str, Any], expected: str
) -> None:
    rows = [filled(shape, i) for i in range(20)]
    assert suggest(rows) == expected
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source.model_validate(yaml.safe_load("{" + expected + "}"))
    found = read_source(source_params(source), tmp_path / "t.jsonl", "train")
    assert [(p.question, p.gold) for p in found] == [(Q.format(i=i), str(i)) for i in range(20)]
    assert found.advice() is None, "a source that reads the file well is not advised to change"


@pytest.mark.parametrize(
    "rows", [[], [{"x": 1}], [{"question": "How many?", "answer": "He has 3 and buys 1, so he has 4 in all."}], [{}]]
)
def test_nothing_is_suggested_where_nothing_fits(rows: list[dict[str, Any]]) -> None:
    assert suggest(rows) is None


@pytest.mark.parametrize("kind", ["gsm8k", "math", "table"])
@pytest.mark.parametrize(("name", "shape", "expected"), SHAPES, ids=[name for name, _, _ in SHAPES])
def test_every_format_on_every_other_shape_gets_a_suggestion_that_works(
    tmp_path: Path, kind: Any, name: str, shape: dict[str, Any], expected: str
) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(filled(shape, i)) + "\n" for i in range(20)))
    try:
        found = list(read_source(SourceParams(format=kind), tmp_path / "t.jsonl", "train"))
    except BadInput as error:
        assert "The columns are: " in str(error) and expected in str(error)
    else:
        assert all(p.gold or p.reason for p in found)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("math500.jsonl", "format: table, columns: {question: problem, answer: answer, solution: solution}"),
        ("capital_columns.jsonl", "format: gsm8k, columns: {question: Question, answer: Answer}"),
    ],
)
def test_the_cases_that_were_reported(file: str, expected: str) -> None:
    path = shared_data("gsm8k").parents[1] / "cases" / "data" / file
    if not path.is_file():
        pytest.skip(f"no cases at {path}")
    with pytest.raises(BadInput) as caught:
        read_source(SourceParams(format="gsm8k"), path, "train")
    assert expected in str(caught.value)
