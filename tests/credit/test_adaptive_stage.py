"""The credit stage with the estimator ``adaptive``, the audit, correct responses and the true errors, on a real
model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from misstep.credit.audit import audit_counts, audited, to_audit
from misstep.credit.block import CreditedBlock, CreditedResponse, Prefix
from misstep.credit.evidence import Known
from misstep.credit.steps import Steps
from misstep.credit.tables import positive_counts
from misstep.credit.values import first_pit
from misstep.plan.kinds import StageKind
from tests.credit.inputs import World, answered
from tests.credit.star import Star, star_problem
from tests.credit.test_stages import credit_params, pairs_params


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def inputs(world):
    return world.commit_all(*answered(36, 8))


def adaptive(**changes):
    return credit_params(estimator="adaptive", target_error=0.1, **changes)


@pytest.fixture(scope="module")
def everything(world, inputs):
    params = adaptive(audit_percent=40, positives_per_problem=1, oracle="strides", negatives_per_problem=4)
    return world.run(StageKind.CREDIT, inputs, params)


def verdicts_of(world, inputs):
    return {(row["problem_id"], row["sample"]): row["verdict"] for row in world.rows(inputs["verdicts"], "verdicts")}


def test_counts_are_those_of_the_samples_and_rollouts_that_leave_after_each_step(world, everything, inputs):
    samples = defaultdict(list)
    verdicts = {
        (row["problem_id"], row["sample"]): row["verdict"] for row in world.rows(inputs["verdicts"], "verdicts")
    }
    for row in world.rows(inputs["samples"], "samples"):
        solved = verdicts[row["problem_id"], row["sample"]] == "correct" and row["finish_reason"] == "stop"
        samples[row["problem_id"]].append((row["sample"], row["token_ids"], solved))
    prefixes = {row["prefix_id"]: row["token_ids"] for row in world.rows(everything, "prefixes")}
    known = defaultdict(list)
    for row in world.rows(everything, "rollouts"):
        solved = row["verdict"] == "correct" and row["finish_reason"] == "stop"
        known[row["problem_id"]].append((prefixes[row["prefix_id"]] + row["token_ids"], solved))
    rows = [row for row in world.rows(everything, "negatives") if row["pit"]]
    assert len(rows) > 50
    for row in rows:
        ends = [0, *row["step_ends"]]
        draws = known[row["problem_id"]] + [
            (ids, ok) for n, ids, ok in samples[row["problem_id"]] if n != row["sample"]
        ]
        for step in range(len(row["step_ends"])):
            begin, end = row["token_ids"][: ends[step]], row["token_ids"][: ends[step + 1]]
            leaving = [ok for ids, ok in draws if ids[: len(begin)] == begin and ids[: len(end)] != end]
            assert row["solved"][step] == sum(leaving)
            assert row["failed"][step] == len(leaving) - sum(leaving)
        assert row["alive"] == sorted(row["alive"], reverse=True)
        assert 0 < row["certainty"] <= 1
        falls = [before - after for before, after in zip(row["alive"], row["alive"][1:], strict=False)]
        assert falls[row["pit"] - 1] == pytest.approx(row["certainty"], abs=1e-9)
        assert set(row["q"][1:-1]) <= {None}


def test_it_draws_less_than_a_scan_and_is_right_as_often(world, inputs, everything):
    scan = world.run(StageKind.CREDIT, inputs, credit_params(negatives_per_problem=4, oracle="strides"))
    ours, full = world.summary(everything), world.summary(scan)
    assert ours["negatives"] == full["negatives"]
    assert ours["generated_tokens"] < 0.6 * full["generated_tokens"]
    assert ours["true_errors"]["exact"] >= full["true_errors"]["exact"]
    assert sum(ours["true_errors"].values()) == sum(full["true_errors"].values())
    expected = ours["doubt_millionths"] / 1e6 / ours["pits"]
    assert expected < 0.25


def test_the_audit_has_fresh_scans_of_its_share(world, everything):
    rows, summary = world.rows(everything, "audits"), world.summary(everything)["audit"]
    pits = {(row["problem_id"], row["sample"]): row for row in world.rows(everything, "negatives")}
    credited = [row for row in pits.values() if row["pit"]]
    assert 0.2 < len(rows) / len(credited) < 0.6
    assert len({(row["problem_id"], row["sample"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["pit"] == pits[row["problem_id"], row["sample"]]["pit"]
        assert 1 <= row["scan_pit"] <= row["steps"]
    assert summary["negatives"] == len(rows)
    assert summary["same_pit"] == sum(row["pit"] == row["scan_pit"] for row in rows)
    assert summary["scans_same_pit"] == sum(row["scan_pit"] == row["rescan_pit"] for row in rows)
    assert any(row["scan_pit"] != row["rescan_pit"] for row in rows)  # other rollouts
    assert summary["scan_tokens"] > 0


def test_a_full_scan_is_its_own_first_scan(world, inputs):
    key = world.run(StageKind.CREDIT, inputs, credit_params(audit_percent=30))
    rows, summary = world.rows(key, "audits"), world.summary(key)["audit"]
    assert rows
    assert all(row["rescan_pit"] is None for row in rows)
    assert summary["same_pit"] == summary["scans_same_pit"] < len(rows)


def test_correct_responses_are_scanned_with_values(world, inputs, everything):
    rows, rollouts = world.rows(everything, "positives"), world.rows(everything, "positive_rollouts")
    verdicts = {
        (row["problem_id"], row["sample"]): row["verdict"] for row in world.rows(inputs["verdicts"], "verdicts")
    }
    assert len(rows) > 10
    assert len({row["problem_id"] for row in rows}) == len(rows)
    for row in rows:
        assert verdicts[row["problem_id"], row["sample"]] == "correct"
        assert row["q"][-1] == 1
        assert None not in row["q"]
        falls = [step for step in range(1, len(row["q"])) if row["q"][step - 1] > 0 and row["q"][step] == 0]
        assert row["pit"] == (falls[0] if falls else None)
    counts = world.summary(everything)["positives"]
    assert 0 <= counts["lucky"] <= sum(row["pit"] is not None for row in rows)
    assert counts | {"lucky": 0} == {
        "responses": len(rows),
        "lucky": 0,
        "rollouts": len(rollouts),
        "generated_tokens": sum(len(row["token_ids"]) for row in rollouts),
    }


def test_tables_of_what_is_turned_off_are_absent(world, inputs):
    key = world.run(StageKind.CREDIT, inputs, adaptive())
    assert {part.table for part in world._reader.manifest(key).parts} == {"prefixes", "negatives", "rollouts"}


def test_equal_runs_write_equal_bytes(world, inputs):
    keys = [world.run(StageKind.CREDIT, inputs, adaptive(audit_percent=20)) for _ in range(2)]
    assert world.part_hashes(keys[0]) == world.part_hashes(keys[1])


def test_pairs_are_made_of_nearly_all_pits(world, inputs, everything):
    pairs = world.run(StageKind.PAIRS, {**inputs, "credit": everything}, pairs_params("shared-prefix", per_problem=8))
    summary = world.summary(pairs)
    assert summary["pairs"] > 0.8 * world.summary(everything)["pits"]
    assert summary["dropped"].get("no-correct-answer", 0) < 0.1 * summary["candidates"]
    assert summary["chosen_source"]["rollout"] > 0


def test_a_budget_is_kept(world, inputs):
    free, small = (world.run(StageKind.CREDIT, inputs, adaptive(budget=budget)) for budget in (None, 1))
    negatives = len([row for row in world.rows(small, "negatives") if row["pit"]])
    assert world.summary(small)["rollouts"] <= negatives
    assert world.summary(small)["rollouts"] < world.summary(free)["rollouts"]


def test_a_larger_share_audits_the_same_and_more():
    star = Star(length=3)
    problems = [star_problem(n, star, [star.walk(1, 1, 1), star.walk(2, 2, 2)]) for n in range(200)]
    chosen = {}
    for percent in (0, 5, 50, 100):
        audits = to_audit(problems, adaptive(audit_percent=percent, seed=4))
        chosen[percent] = {(problem.problem_id, n.sample) for problem in audits for n in problem.negatives}
    assert chosen[0] == set() < chosen[5] < chosen[50] < chosen[100]
    assert len(chosen[100]) == 400
    assert 150 < len(chosen[50]) < 250


def test_an_audit_of_nothing_counts_nothing():
    empty = CreditedBlock([], [])
    assert audited(empty, [empty, empty]) == []
    assert set(audit_counts([], []).values()) == {0}


def test_the_first_pit_is_that_of_its_definition(world, inputs):
    key = world.run(StageKind.CREDIT, inputs, credit_params(audit_percent=100))
    for row in world.rows(key, "negatives"):
        assert row["pit"] == (first_pit(row["q"]) if row["reason"] is None else None)


def test_a_lucky_step_that_another_correct_response_passes_through_is_not_counted():
    star = Star(odds=(0.5, 0.5), length=3)
    right = star.walk(0, 0, 0)
    other = (*star.walk(0, 0, 0)[:4], 99, 98)  # another way from the second step
    problem = star_problem(0, star, [])
    steps = Steps((2, 4, 6, 9), ("a", "b", "c", "d"))

    def counts(pit, *known):
        credited = CreditedResponse("star-0", 1, right, steps, ("p",) * 5, pit, None)
        prefix = Prefix("p", replace(problem, known=tuple(enumerate(known))), 0, ())
        return positive_counts(CreditedBlock([credited], [prefix]))["lucky"]

    itself = Known(right, True)
    assert counts(2, itself) == 1
    assert counts(2, itself, Known(other, True)) == 0
    assert counts(2, itself, Known(other, False)) == 1
    assert counts(3, itself, Known(other, True)) == 1
    assert counts(None, itself) == 0
