from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from misstep.evaluation.student import Z95, even, half_width, t_draws

scales = st.floats(1e-4, 1.0)


@pytest.mark.parametrize("degrees", [1, 2, 5, 15])
def test_a_t_or_a_normal_alone_has_its_own_quantile(degrees: int) -> None:
    assert half_width(0.3, degrees, 0.0) == pytest.approx(0.3 * stats.t.ppf(0.975, degrees), rel=1e-4)
    assert half_width(0.0, degrees, 0.2) == pytest.approx(0.2 * Z95)
    assert half_width(0.3, 0, 0.2) == pytest.approx(0.2 * Z95)


@settings(max_examples=30, deadline=None)
@given(scales, scales, st.integers(1, 9))
def test_a_sum_is_wider_than_each_part_and_narrower_than_both_added(t: float, normal: float, degrees: int) -> None:
    parts = half_width(t, degrees, 0.0), half_width(0.0, degrees, normal)
    assert max(parts) * (1 - 1e-6) <= half_width(t, degrees, normal) <= sum(parts) * (1 + 1e-6)


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_the_half_width_of_a_sum_is_that_of_drawn_sums(degrees: int) -> None:
    rng = np.random.default_rng(0)
    drawn = 0.5 * rng.standard_t(degrees, 400_000) + rng.standard_normal(400_000)
    assert half_width(0.5, degrees, 1.0) == pytest.approx(np.quantile(np.abs(drawn), 0.95), rel=0.02)


@given(st.integers(1, 300), st.integers(0, 6), st.integers(0, 9))
def test_even_numbers_are_inside_the_unit_cube_and_follow_their_seed(rows: int, columns: int, seed: int) -> None:
    points = even(rows, columns, np.random.default_rng(seed))
    assert points.shape == (rows, columns)
    assert ((points > 0.0) & (points < 1.0)).all()
    assert np.array_equal(points, even(rows, columns, np.random.default_rng(seed)))


def test_draws_of_a_t_reach_as_far_as_its_quantiles() -> None:
    draws = t_draws(2048, 3, 2, np.random.default_rng(1))
    for column in draws.T:
        assert np.quantile(column, [0.025, 0.975]) == pytest.approx(stats.t.ppf([0.025, 0.975], 2), rel=0.1)
    assert abs(np.corrcoef(np.sign(draws.T))[0, 1]) < 0.1
