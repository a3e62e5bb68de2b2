"""The numbers of right and wrong responses, for problems of different difficulty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.cost.draws import correct_counts, distinct, expected, spread

SHARES = st.floats(0.01, 0.99)


@given(correct=SHARES, spread_=st.floats(1e-2, 1e4), samples=st.integers(1, 32))
def test_counts_are_a_distribution_with_the_given_mean(correct: float, spread_: float, samples: int) -> None:
    chances = correct_counts(correct, spread_, samples)
    assert sum(chances) == pytest.approx(1, abs=1e-6)
    assert sum(k * chance for k, chance in enumerate(chances)) == pytest.approx(samples * correct, rel=1e-5)


@given(correct=st.floats(0.05, 0.9), between=st.floats(0.05, 0.95), samples=st.integers(2, 24))
def test_the_spread_gives_the_share_of_solved_problems(correct: float, between: float, samples: int) -> None:
    most = 1 - (1 - correct) ** samples  # problems all alike
    solved = correct + between * (most - correct)
    chances = correct_counts(correct, spread(correct, solved, samples), samples)
    assert 1 - chances[0] == pytest.approx(solved, abs=0.005)


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_never_and_always_solved(correct: float) -> None:
    chances = correct_counts(correct, 1.0, 4)
    assert chances[round(4 * correct)] == 1.0
    assert sum(chances) == 1.0


@given(correct=SHARES, solved=SHARES, wrong=st.floats(0, 1), samples=st.integers(1, 16))
def test_responses_are_shared_out_without_loss(correct: float, solved: float, wrong: float, samples: int) -> None:
    chances = correct_counts(correct, spread(correct, solved, samples), samples)
    everything = expected(chances, wrong, lambda right, false: right + false)
    assert everything == pytest.approx(samples * (correct + (1 - correct) * wrong), rel=1e-4)


def test_distinct_responses() -> None:
    assert [distinct(count, 0.5) for count in (0, 1, 3)] == [0, 1, 2]
