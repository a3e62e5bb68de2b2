"""The report on arms that start from another arm's model, and on policies that have memorised their problems."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from misstep.evaluation.results_table import summary_rows
from misstep.evaluation.style import arm_styles
from misstep.evaluation.wording import learns_from
from tests.evaluation.conftest import Made
from tests.evaluation.test_report import SMALL, element, words
from tests.evaluation.world import ARMS

Report = Callable[..., Made]
ROUNDS: dict[str, Any] = SMALL | {
    "arms": (*ARMS, ("dpo-step-2", "dpo", "shared-prefix"), ("rft-2", "rft", None)),
    "from_arm": {"dpo-step-2": "dpo-step", "rft-2": "dpo-step"},
}


def rows(html: str) -> list[list[list[str]]]:
    """The text of each table's cells."""
    tables = element(html).iter("table")
    return [[[" ".join("".join(cell.itertext()).split()) for cell in row] for row in t.iter("tr")] for t in tables]


def test_every_row_names_the_policy_that_it_is_about(report: Report) -> None:
    results = report(**ROUNDS).results
    points = [(s.from_arm, s.size, s.seed) for s in results.sampled]
    assert points == [(start, 250, seed) for seed in (0, 1) for start in (None, "dpo-step")]
    assert [(c.from_arm, c.size, c.seed) for c in results.credit] == points
    assert {c.arm: c.from_arm for c in results.cells if c.from_arm} == ROUNDS["from_arm"]
    tables = rows(report(**ROUNDS).html)
    for column in ("samples", "estimator"):
        (table,) = [t for t in tables if t[0][:1] == ["policy"] and column in t[0]]
        assert [row[:3] for row in table[1:3]] == [["SFT’s policy", "250", "0"], ["dpo-step", "250", "0"]]
    (pairs,) = [t for t in tables if t[0][:2] == ["arm", "policy"]]
    assert ["dpo-step", "SFT’s policy", "250", "0"] in [row[:4] for row in pairs]
    assert ["dpo-step-2", "dpo-step", "250", "0"] in [row[:4] for row in pairs]
    (training,) = [t for t in tables if t[0][:2] == ["arm", "starts from"]]
    starts = {row[0]: row[1] for row in training[1:]}
    assert starts["sft"] == starts["rft"] == starts["rft-2"] == "base model"
    assert (starts["dpo-step"], starts["dpo-step-2"]) == ("SFT’s policy", "dpo-step")
    assert len({len(row) for row in training}) == 1
    text = words(report(**ROUNDS).html)
    assert "a correct rollout against the pit step, starting from dpo-step" in text
    assert "own correct solutions; that policy is dpo-step, and training starts from the base model" in text


def test_without_rounds_no_table_has_a_column_for_them(report: Report) -> None:
    text = words(report(**SMALL).html)
    assert "starts from" not in text and "SFT’s policy" not in text
    assert "the policy is the model that is sampled, credited, and from which DPO starts" in text


def test_the_csv_and_the_terminal_name_the_start(report: Report) -> None:
    made = report(**ROUNDS)
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    assert {(row["arm"], row["from"]) for row in rows if row["from"]} == set(ROUNDS["from_arm"].items())
    arms = {row.arm for row in summary_rows(made.results)}
    assert {"dpo-step", "dpo-step-2 (from dpo-step)", "rft-2 (from dpo-step)"} <= arms


def test_notes_name_the_policy(report: Report) -> None:
    notes = " ".join(report(**ROUNDS, solved=0.0).results.notes)
    assert "The policy of 250 problems (seed 0) solved none" in notes
    assert "The policy dpo-step of 250 problems (seed 0) solved none" in notes
    assert "Credit found no pit for the policy of 250 problems (seed 0): no pits" in notes
    assert "Credit found no pit for the policy dpo-step of 250 problems (seed 1): no pits" in notes


def by_heart(made: Made) -> list[str]:
    return [note for note in made.results.notes if "by heart" in note]


def test_a_policy_of_sft_is_warned_of_by_what_its_run_measured(report: Report) -> None:
    made = report(**SMALL, own_solved=0.87)
    notes = by_heart(made)
    assert [note[:45] for note in notes] == [f"The policy of 250 problems (seed {n}) solves 87" for n in (0, 1)]
    point = next(p for p in made.results.points if (p.arm, p.size, p.seed) == ("sft", 250, 0))
    validation = point.training.policy_validation
    assert validation is not None and point.training.policy_epoch == 4 and point.training.best_epoch == 8
    assert f"and {validation.value:.0%} of validation problems" in notes[0]
    assert "spec.training.sft.policy.maxGapPoints" in notes[0]
    assert f"4 {100 * validation.value:.1f}% of validation problems, 87.0% of its own" in words(made.html)
    assert notes[0] in words(made.html)
    assert by_heart(report(**SMALL)) == []


def test_a_policy_of_another_arm_is_warned_of_by_its_samples_and_test_accuracy(report: Report) -> None:
    # SFT's own scorings find nothing; the samples of both policies are right far more often than on test problems.
    made = report(**ROUNDS, own_correct=0.9)
    notes = by_heart(made)
    start = "The policy dpo-step of 250 problems (seed {}) is right in 90% of its samples on its own training problems"
    assert [note.startswith(start.format(n)) for n, note in enumerate(notes)] == [True, True]
    point = next(p for p in made.results.points if (p.arm, p.seed) == ("dpo-step", 0))
    assert f"{point.pass_at[1].value:.0%} of its answers to test problems (spec.evaluation)" in notes[0]
    assert "spec.training.dpo" in notes[0]


@pytest.mark.parametrize(
    ("method", "layout", "start", "end"),
    [
        ("sft", None, None, "the teacher's solutions"),
        ("dpo", "random", None, "(no credit)"),
        ("dpo", "random", "a", "(no credit), starting from a"),
        ("rft", None, "a", "; that policy is a, and training starts from the base model"),
    ],
)
def test_what_an_arm_learns_from(method: str, layout: str | None, start: str | None, end: str) -> None:
    assert learns_from(method, layout, start).endswith(end)


def test_sixteen_arms_all_look_different(report: Report) -> None:
    results = report(**SMALL).results
    cell = results.cells[-1]
    many = results.model_copy(update={"cells": tuple(cell.model_copy(update={"arm": f"a{n}"}) for n in range(16))})
    assert len(set(arm_styles(many).values())) == 16
