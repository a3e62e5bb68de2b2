from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.evaluation.curve import FallingCurve, falling, fit_power_law, size_on_line

SIZES = (125, 250, 500, 1000, 2000)
errors = st.lists(st.floats(0.05, 0.99), min_size=2, max_size=8)
slopes = st.floats(0.02, 0.6)


@given(errors, st.data())
def test_falling_pools_points_that_rise_into_their_weighted_mean(values: list[float], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=len(values), max_size=len(values)))
    fitted = np.array(falling(values, weights))
    assert np.all(np.diff(fitted) <= 0)
    for level in set(fitted.tolist()):
        pool = fitted == level
        assert np.average(np.array(values)[pool], weights=np.array(weights)[pool]) == pytest.approx(level)
    assert falling(sorted(values, reverse=True), weights) == pytest.approx(sorted(values, reverse=True))


def planted(b: float) -> tuple[FallingCurve, float]:
    a = 0.9 * SIZES[0] ** b
    return FallingCurve(SIZES, [a * d**-b for d in SIZES], [1.0] * len(SIZES)), a


@given(slopes, st.floats(SIZES[0], SIZES[-1]))
def test_interpolation_is_exact_on_a_power_law(b: float, size: float) -> None:
    curve, a = planted(b)
    reading = curve.needed(a * size**-b)
    if reading.relation == ">":  # rounding at the very end
        assert size == pytest.approx(SIZES[-1])
        return
    if reading.relation == "<":
        assert size == pytest.approx(SIZES[0])
        return
    assert reading.problems == pytest.approx(size, rel=1e-6)
    assert not reading.beyond


@given(slopes, st.floats(1.01, 50))
def test_outside_its_points_a_curve_says_only_what_was_measured(b: float, factor: float) -> None:
    curve, a = planted(b)
    high = curve.needed(a * (SIZES[-1] * factor) ** -b)
    low = curve.needed(a * (SIZES[0] / factor) ** -b)
    assert (high.relation, high.problems) == (">", SIZES[-1])
    assert (low.relation, low.problems) == ("<", SIZES[0])
    assert (high.as_number(), low.as_number()) == (math.inf, 0.0)


@given(st.lists(st.floats(0.1, 0.9), min_size=5, max_size=5), st.lists(st.floats(0.05, 0.95), min_size=2, max_size=2))
def test_a_lower_error_never_needs_fewer_problems(points: list[float], asked: list[float]) -> None:
    curve = FallingCurve(SIZES, points, [1.0] * 5)
    low, high = sorted(asked)
    assert curve.needed(low).as_number() >= curve.needed(high).as_number()


def test_a_rise_is_averaged_and_a_flat_end_is_not_extended() -> None:
    curve = FallingCurve((100, 200, 400), (0.8, 0.6, 0.7), (1.0, 1.0, 1.0))
    assert curve.needed(0.65).problems == pytest.approx(200)  # the two last points at their mean
    assert curve.needed(0.6499).relation == ">"
    assert curve.error_at(300) == pytest.approx(0.65)
    assert curve.error_at(99) is None


@given(st.lists(st.tuples(st.floats(3, 9), st.floats(-3, 0)), min_size=3, max_size=9, unique_by=lambda p: round(p[0])))
def test_the_fit_is_ordinary_least_squares(points: list[tuple[float, float]]) -> None:
    x, y = (np.array(values) for values in zip(*points, strict=True))
    log_a, b = fit_power_law(x, y[None, :], np.ones(len(x)))
    slope, intercept = np.polyfit(x, y, 1)
    assert (log_a[0], -b[0]) == pytest.approx((intercept, slope), abs=1e-6)


def test_weights_count_like_repeated_points() -> None:
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.0, -1.0, -1.5])
    weighted = fit_power_law(x, y[None, :], np.array([2.0, 1.0, 3.0]))
    index = [0, 0, 1, 2, 2, 2]
    repeated = fit_power_law(x[index], y[None, index], np.ones(6))
    assert np.allclose(weighted, repeated)


@given(st.floats(-1, 1), slopes, st.floats(10, 1e5))
def test_the_line_is_inverted(log_a: float, b: float, size: float) -> None:
    assert size_on_line(log_a, b, math.exp(log_a) * size**-b) == pytest.approx(size, rel=1e-6)


def test_a_line_that_does_not_fall_has_no_inverse() -> None:
    assert size_on_line(math.log(0.5), 0.0, 0.4) == math.inf
    assert size_on_line(math.log(0.5), -0.1, 0.6) == 0.0
