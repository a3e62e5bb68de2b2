from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from misstep.artifacts.reader import Reader
from misstep.artifacts.records import OUTCOMES
from misstep.errors import MisstepError
from misstep.plan.kinds import StageKind
from misstep.stages.shell import run_stage
from tests.artifacts.making import frozen
from tests.evaluation.world import World

Answers = list[tuple[str, str, str | None, bool]]
"""Problem, verdict, extracted, cut off."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, sft_sizes=(4,), method_sizes=(4,), test_problems=3)


def scored(world: World, answers: Answers, pass_at: tuple[int, ...] = (1, 2), drop: int = 0) -> tuple[pa.Table, Any]:
    numbers: dict[str, int] = {}
    samples, verdicts = [], []
    for problem, verdict, extracted, cut in answers:
        sample = numbers[problem] = numbers.get(problem, -1) + 1
        reason = "length" if cut else "stop"
        row = {"problem_id": problem, "sample": sample, "text": "", "finish_reason": reason}
        samples.append(row | {"prompt_ids": [1], "token_ids": [2]})
        row = {"problem_id": problem, "sample": sample, "verdict": verdict, "extracted": extracted}
        verdicts.append(row | {"rule": "hash", "verifier": "made-up/1"})
    inputs = {"problems": world.problems}
    inputs |= world.commit_answers("by-hand", samples, verdicts[: len(verdicts) - drop])
    stage = frozen(StageKind.SCORE, {"pass_at": pass_at}, world.storage, inputs)
    result = run_stage(stage)
    assert result.manifest is not None
    reader = Reader(world.store, world.folder / "read")
    return reader.table(stage.key, "outcomes"), result.manifest.summary


def test_outcomes_and_figures_of_a_hand_made_case(world: World) -> None:
    answers: Answers = [
        ("test-00001", "correct", "7", False),
        ("test-00000", "correct", "3", False),
        ("test-00000", "wrong", "4", False),
        ("test-00001", "correct", "7.0", False),
        ("test-00002", "unparsable", None, True),
        ("test-00002", "timeout", "9^9^9", False),
    ]
    table, summary = scored(world, answers)
    assert table.schema.equals(OUTCOMES)
    rows = {row["problem_id"]: row for row in table.to_pylist()}
    assert list(rows) == ["test-00000", "test-00001", "test-00002"]  # in the order of the problems
    assert rows["test-00000"] == {
        "problem_id": "test-00000",
        "samples": 2,
        "correct": 1,
        "wrong": 1,
        "unparsable": 0,
        "timeout": 0,
        "majority_answer": "3",
        "majority_correct": 0.5,
    }
    assert (rows["test-00001"]["majority_answer"], rows["test-00001"]["majority_correct"]) == ("7", 1.0)
    assert (rows["test-00002"]["majority_answer"], rows["test-00002"]["majority_correct"]) == (None, 0.0)
    assert summary["problems"] == 3
    assert summary["samples"] == 6
    assert summary["verdicts"] == {"correct": 3, "wrong": 1, "unparsable": 1, "timeout": 1}
    assert (summary["cut_off"], summary["cut_off_share"]) == (1, pytest.approx(1 / 6, abs=1e-6))
    assert summary["pass_at"]["1"]["value"] == 0.5
    assert summary["pass_at"]["2"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert summary["maj_at"]["2"]["value"] == 0.5
    assert summary["notes"] == []


def test_problems_with_unlike_numbers_of_samples(world: World) -> None:
    answers: Answers = [(f"test-0000{i}", "correct", "1", False) for i in (0, 0, 1)]
    _, summary = scored(world, answers)
    assert list(summary["pass_at"]) == ["1"]
    assert summary["maj_at"] == {}
    assert len(summary["notes"]) == 2


def test_no_samples_are_a_result_that_says_so(world: World) -> None:
    table, summary = scored(world, [])
    assert table.num_rows == 0
    assert summary["samples"] == 0
    assert summary["pass_at"] == {}
    assert "no samples" in summary["notes"][0]


def test_verdicts_of_other_samples_are_refused(world: World) -> None:
    answers: Answers = [("test-00000", "correct", "1", False)] * 3
    with pytest.raises(MisstepError, match="not those of the samples"):
        scored(world, answers, drop=1)


def test_samples_of_unknown_problems_are_refused(world: World) -> None:
    with pytest.raises(MisstepError, match="'elsewhere' is not among the problems"):
        scored(world, [("elsewhere", "correct", "1", False)])
