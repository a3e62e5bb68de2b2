"""A run's log message on the chosen policy."""

from __future__ import annotations

import pytest

from misstep.plan.params import PolicyParams
from misstep.training.selection import Score, choose_policy, explain_policy

SCORES = [Score(4, 16, 100, 22, 100, 25), Score(8, 32, 100, 28, 100, 50), Score(16, 64, 100, 35, 100, 81)]


@pytest.mark.parametrize(
    ("scores", "params", "begins", "why", "as_asked"),
    [
        (SCORES, PolicyParams(max_gap_points=10, epoch=None), 4, "differ by 10 points at most", True),
        (SCORES, PolicyParams(max_gap_points=22, epoch=None), 8, "differ by 22 points at most", True),
        (SCORES[1:], PolicyParams(max_gap_points=10, epoch=None), 8, "no checkpoint that was scored", False),
        (SCORES, PolicyParams(max_gap_points=10, epoch=16), 16, "spec.training.sft.policy.epoch names", True),
    ],
)
def test_the_choice_is_explained(
    scores: list[Score], params: PolicyParams, begins: int, why: str, as_asked: bool
) -> None:
    policy = choose_policy(scores, params)
    assert policy is not None
    text, asked = explain_policy(policy, params)
    assert asked is as_asked
    assert why in text
    begin = (
        f"the policy is the checkpoint of epoch {begins}, right on {policy.correct}% of 100 validation problems and on "
    )
    assert text.startswith(f"{begin}{policy.train_correct}% of 100 of its own: ")
