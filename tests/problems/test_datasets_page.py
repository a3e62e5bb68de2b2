"""The page of data sets: every block of YAML is a valid ``spec.problems``, and reads rows of that data set's form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from misstep.cli.app import app
from misstep.plan.translate import source_params
from misstep.problems.formats import read_source
from misstep.spec.problems import Problems
from misstep.terms.formats import GENERATED

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BOXED = "Adding gives $\\boxed{4}$."
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\nHow many?\n\nRemember to put your answer "
    'on its own line after "Answer:".'
)
ROWS: dict[str, list[dict[str, Any]]] = {
    "GSM8K": [{"question": "How many?", "answer": "3+1=<<3+1=4>>4\n#### 4"}],
    "MATH": [{"problem": "How many?", "level": "Level 1", "type": "Algebra", "solution": BOXED}],
    "MATH-500": [{"problem": "How many?", "level": "Level 1", "type": "Algebra", "solution": BOXED}],
    "MetaMathQA": [{"query": "How many?", "response": "3+1=4\n#### 4\nThe answer is: 4", "type": "GSM_Rephrased"}],
    "NuminaMath": [
        {"problem": "How many?", "solution": "It is 4.", "answer": "4", "problem_type": "Algebra"},
        {"source": "amc", "problem": "How many?", "solution": BOXED, "messages": []},
    ],
    "Orca-Math": [{"source": "orca_math", "problem": "How many?", "solution": BOXED}],
    "DeepScaleR": [{"problem": "How many?", "answer": "4", "solution": ""}],
    "DAPO": [
        {
            "data_source": "math_dapo",
            "prompt": [{"role": "user", "content": DAPO}],
            "reward_model": {"ground_truth": "4", "style": "rule-lighteval/MATH_v2"},
        }
    ],
    "OpenMathInstruct": [
        {"problem": "How many?", "generated_solution": BOXED, "expected_answer": "4", "problem_source": "math"},
        {"question": "How many?", "generated_solution": BOXED, "expected_answer": "4", "is_correct": True},
    ],
}
"""Rows in the form in which each data set is published, for its blocks in their order."""


def blocks() -> list[tuple[str, int, str]]:
    """(data set, number of the block under its heading, YAML)."""
    parts = HEADING.split(PAGE.read_text())[1:]
    found = []
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        found += [(name, number, block) for number, block in enumerate(BLOCK.findall(text))]
    return found


@pytest.mark.parametrize(("name", "number", "block"), blocks())
def test_a_block_is_valid_and_reads_the_data_set(tmp_path: Path, name: str, number: int, block: str) -> None:
    experiment = {
        "apiVersion": "misstep.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "page"},
        "spec": {"problems": yaml.safe_load(block), "policy": {"model": {"path": "model"}}},
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment))
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "e.yaml")])
    assert result.exit_code == 0, result.output
    train = Problems.model_validate(yaml.safe_load(block)).train
    if train.format in GENERATED:
        assert sum(1 for _ in read_source(source_params(train), None, "train")) == train.limit
        return
    (tmp_path / "t.jsonl").write_text(json.dumps(ROWS[name][number]) + "\n")
    [problem] = read_source(source_params(train), tmp_path / "t.jsonl", "train")
    assert (problem.question, problem.gold) == ("How many?", "4")
    assert "<<" not in (problem.solution or "")


def test_no_data_set_is_forgotten() -> None:
    assert {name for name, _, _ in blocks()} == {*ROWS, "Generated problems"}
