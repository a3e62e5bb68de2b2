from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.evaluation import wording as w
from misstep.evaluation.estimates import Estimate, Worth
from misstep.terms.layouts import OPPONENTS, Layout


def test_every_layout_has_its_words() -> None:
    assert {layout for method, layout in w.METHODS if method == "dpo"} == set(get_args(Layout))


def test_every_layout_without_credit_has_its_words() -> None:
    assert set(w.WITHOUT_CREDIT) == set(OPPONENTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.4321, "0.43"), (1.0, "1.0"), (7.64, "7.6"), (34.4, "34"), (134.4, "134"), (34812.0, "34,812")],
)
def test_numbers(value: float, text: str) -> None:
    assert w.number(value) == text


@given(st.floats(1e-3, 1e6))
def test_a_number_is_written_to_five_percent(value: float) -> None:
    assert float(w.number(value).replace(",", "")) == pytest.approx(value, rel=0.051)


@given(st.floats(1, 1e7))
def test_problems_are_written_to_two_figures(count: float) -> None:
    text = w.problems(count)
    assert int(text.replace(",", "")) == pytest.approx(count, rel=0.051, abs=0.5)
    assert len(text.replace(",", "").rstrip("0")) <= 2


def test_factors() -> None:
    assert w.factor(Worth("=", 8.04, 6.3, 12.0)) == "8.0x"
    assert w.factor(Worth(">", 8.0)) == "> 8x"
    assert w.factor(Worth("<", 0.5)) == "< 0.50x"
    assert w.factor(Worth(reason="no")) == w.NONE
    assert w.factor_range(Worth("=", 8.0, 6.3, 12.0)) == "6.3 to 12"
    assert w.factor_range(Worth("=", 8.0, 6.3, None)) == "6.3 or more"
    assert w.factor_range(Worth("<", 0.5, None, 0.6)) == "at most 0.60"
    assert w.factor_range(Worth("=", 2.0)) == "open at both ends"
    assert w.factor_range(Worth()) == ""


def test_problems_that_are_needed() -> None:
    assert w.needed(Worth("=", 9.2, needed=2304.0)) == "2,300"
    assert (w.needed(Worth("<", 0.5, needed=125.0)), w.needed(Worth(">", 8.0, needed=4096.0))) == ("125", "4,096")


def test_shares_and_differences() -> None:
    assert w.plus_minus(Estimate(0.324, 0.30, 0.35)) == "32.4 ± 2.5%"
    assert w.percent_range(Estimate(0.324, 0.30, 0.35)) == "30.0 to 35.0%"
    assert (w.points(0.041), w.points(-0.041), w.points(-0.0001)) == ("+4.1", "−4.1", "0.0")
    assert w.magnitudes(Estimate(-0.06, -0.1, -0.02)) == "2.0 to 10.0"
    assert w.ratio(None) == w.NONE


def test_lists_and_counts() -> None:
    assert [w.listed("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert (w.counted(1, "seed"), w.counted(2000, "problem")) == ("1 seed", "2,000 problems")
