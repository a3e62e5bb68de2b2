"""When a policy counts as having memorised its training problems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.plan.planner import plan
from misstep.stages.overtrained import (
    MOST_GAP,
    Accuracy,
    Known,
    measured,
    policies,
    policy_name,
    stage_warning,
    warning_of_samples,
)
from tests.plan.test_planner import MODEL, experiment


def known(own: int, others: int, own_problems: int = 200, problems: int = 500) -> Known:
    """Shares in percent."""
    return Known(Accuracy(own / 100, own_problems), Accuracy(others / 100, problems))


@pytest.mark.parametrize(
    ("validation", "own", "by_heart"),
    [(22, 25, False), (28, 50, True), (35, 81, True), (31, 98, True)],
    ids=["epoch 4", "epoch 8", "epoch 16", "epoch 32"],
)
def test_the_measured_gaps_of_the_quickstart(validation: int, own: int, by_heart: bool) -> None:
    assert known(own, validation).by_heart is by_heart


@pytest.mark.parametrize(
    ("case", "by_heart"),
    [
        (known(50, 28, own_problems=20, problems=20), False),
        (known(100, 0, own_problems=2, problems=2), False),
        (known(100, 0, own_problems=10, problems=10), True),
        (known(44, 30, own_problems=10**6, problems=10**6), False),  # certain, and not much
        (known(30, 60), False),
        (known(90, 0, problems=0), False),
        (known(0, 0, own_problems=0), False),
    ],
)
def test_few_problems_raise_no_false_alarm(case: Known, by_heart: bool) -> None:
    assert case.by_heart is by_heart


Shares = st.floats(0, 1)


@given(Shares, Shares, st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_more_problems_of_the_same_accuracy_only_make_it_surer(
    own: float, others: float, few: int, problems: int, times: int
) -> None:
    found = Known(Accuracy(own, few), Accuracy(others, problems))
    more = Known(Accuracy(own, times * few), Accuracy(others, times * problems))
    assert not found.by_heart or own - others > MOST_GAP
    assert more.by_heart or not found.by_heart


def test_chance_alone_hardly_ever_warns() -> None:
    """A policy that solves 3 in 10 problems of either kind, asked 20 of each: exact, over all outcomes."""
    from math import comb

    chance = [comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    false = sum(
        chance[own] * chance[others]
        for own in range(21)
        for others in range(21)
        if Known(Accuracy(own / 20, 20), Accuracy(others / 20, 20)).by_heart
    )
    assert false < 0.005


SUMMARY = {
    "policy": {
        "epoch": 16,
        "validation_problems": 500,
        "validation_correct": 150,
        "train_problems": 200,
        "train_correct": 174,
    }
}


def test_what_is_said() -> None:
    found = measured(SUMMARY)
    assert found is not None
    assert found.short == "over-trained: 87% of own problems, 30% of others"
    made = plan(experiment(), MODEL)
    text = stage_warning(made.stage("sft-d250-s0"), found)
    assert text.startswith(
        "The policy of 250 problems (seed 0) solves 87% of its own training problems and 30% of validation problems."
    )
    for field in ("policy.maxGapPoints", "policy.epoch", "selection.epochs"):
        assert f"spec.training.sft.{field}" in text
    assert stage_warning(made.stage("sft-d250-s0"), None) == ""
    text = warning_of_samples(policy_name(1000, 3, "dpo-step"), found, "spec.training.dpo")
    assert text.startswith("The policy dpo-step of 1,000 problems (seed 3) is right in 87% of its samples on its own")
    assert "30% of its answers to test problems" in text and "(spec.training.dpo)" in text


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"policy": None},
        {"policy": {"epoch": 3}},
        {"policy": SUMMARY["policy"] | {"train_problems": 0, "train_correct": 0}},
        {"policy": SUMMARY["policy"] | {"validation_problems": "many"}},
    ],
)
def test_what_was_not_measured_is_not_known(summary: dict[str, object]) -> None:
    assert measured(summary) is None


def test_only_sft_runs_that_something_learns_from_count() -> None:
    arms = """arms:
- {name: sft, method: sft}
- {name: step, method: dpo, pairs: shared-prefix, sizes: [125]}
- {name: again, method: rft, from: step, sizes: [125]}
"""
    made = plan(experiment(arms), MODEL)
    assert policies(made.stages) == {made.stage("sft-d125-s0").key}
