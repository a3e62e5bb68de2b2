"""Which checkpoint of the SFT run becomes the policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.plan.params import PolicyParams
from misstep.training.selection import Score, Selection, choose_policy


def by_gap(points: int) -> PolicyParams:
    return PolicyParams(max_gap_points=points, epoch=None)


def scored(*percent: tuple[int, int, int]) -> list[Score]:
    """Scorings by epoch, accuracy on validation problems and on its own training problems, in percent."""
    return [Score(epoch, 4 * epoch, 500, 5 * held_out, 200, 2 * own) for epoch, held_out, own in percent]


MEASURED = scored((2, 21, 20), (4, 22, 25), (8, 28, 50), (16, 35, 81), (32, 31, 98))
"""The quickstart's task with 250 problems."""


@pytest.mark.parametrize(("points", "epoch"), [(2, 2), (10, 4), (25, 8), (46, 16), (100, 16)])
def test_the_most_accurate_of_those_that_do_not_know_their_training_problems_by_heart(points: int, epoch: int):
    chosen = choose_policy(MEASURED, by_gap(points))
    assert chosen is not None
    assert chosen.epoch == epoch


def test_where_all_know_them_by_heart_the_one_with_the_smallest_gap_is_taken():
    chosen = choose_policy(MEASURED[2:], by_gap(10))
    assert chosen is MEASURED[2]


@pytest.mark.parametrize(("named", "epoch"), [(1, None), (2, 2), (8, 8), (9, 8), (32, 32)])
def test_a_named_epoch_stands_whatever_the_scores(named: int, epoch: int | None):
    chosen = choose_policy(MEASURED, PolicyParams(max_gap_points=0, epoch=named))
    assert (chosen and chosen.epoch) == epoch


def test_training_continues_to_the_named_epoch():
    selection = Selection(1, PolicyParams(max_gap_points=10, epoch=8))
    for score in scored((1, 30, 30), (4, 20, 20)):
        selection.add(score)
    assert not selection.exhausted
    selection.add(scored((8, 20, 20))[0])
    assert selection.exhausted


def test_without_training_problems_the_gap_is_not_known_and_counts_as_none():
    assert Score(1, 4, 500, 100).gap == 0.0


Scorings = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 10)), min_size=1, max_size=10)


@given(Scorings, st.integers(0, 100), st.one_of(st.none(), st.integers(1, 10)))
def test_the_policy_only_ever_changes_to_the_newest_checkpoint(counts, points: int, epoch: int | None):
    """Training keeps the weights of one policy: no checkpoint that was passed over may be wanted later."""
    selection, before = Selection(None, PolicyParams(max_gap_points=points, epoch=epoch)), None
    for number, (correct, own) in enumerate(counts, 1):
        score = Score(number, number, 20, correct, 10, own)
        selection.add(score)
        assert selection.policy is score or selection.policy == before
        before = selection.policy
    again = [Score(**kept) for kept in selection.as_json()]
    assert Selection(None, PolicyParams(max_gap_points=points, epoch=epoch), again).policy == selection.policy


@given(Scorings, st.integers(0, 100))
def test_the_rule_as_it_is_written_down(counts, points: int):
    scores = [Score(n, n, 20, correct, 10, own) for n, (correct, own) in enumerate(counts, 1)]
    policy = choose_policy(scores, by_gap(points))
    assert policy is not None
    within = [s for s in scores if s.gap <= points / 100]
    if within:
        assert policy in within
        assert policy.correct == max(s.correct for s in within)
    else:
        assert policy.gap == min(s.gap for s in scores)
