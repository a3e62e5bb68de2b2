from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.values import advantages, best_of, first_pit

CHANCE = st.floats(0, 1) | st.just(0.0)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_best_of_is_the_share_of_subsets_with_a_success(case):
    n, c, k = case
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert best_of(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-15)


@pytest.mark.parametrize(("n", "k"), [(5, 5), (8, 5), (40, 3), (12, 1)])
@pytest.mark.parametrize("p", [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(1)])
def test_best_of_has_no_bias(n, k, p):
    mean = sum(
        math.comb(n, c) * p**c * (1 - p) ** (n - c) * Fraction(best_of(n, c, k)).limit_denominator(10**9)
        for c in range(n + 1)
    )
    assert float(mean) == pytest.approx(float(1 - (1 - p) ** k), abs=1e-12)


def test_best_of_is_exact_for_large_counts():
    n, c, k = 1_000_000, 3, 5
    exact = 1 - math.prod(Fraction(n - c - i, n - i) for i in range(k))
    assert best_of(n, c, k) == float(exact)
    assert best_of(n, 0, k) == 0.0
    assert best_of(n, n - k + 1, k) == 1.0
    assert best_of(n, 250_000, 1) == 0.25


@pytest.mark.parametrize("case", [(4, 1, 5), (5, 6, 5), (5, -1, 5), (5, 1, 0), (0, 0, 1)])
def test_best_of_refuses_what_it_cannot_estimate(case):
    with pytest.raises(ValueError, match="cannot be estimated"):
        best_of(*case)


@given(st.lists(CHANCE, min_size=2, max_size=12))
def test_advantages_telescope(q):
    known = advantages(q)
    assert len(known) == len(q) - 1
    assert math.fsum(a for a in known if a is not None) == pytest.approx(q[-1] - q[0], abs=1e-12)


def test_advantages_of_unknown_values_are_unknown():
    assert advantages([0.5, None, 0.25, 0.0]) == [None, None, -0.25]


@given(st.lists(CHANCE, min_size=2, max_size=12))
def test_first_pit_is_the_first_lowest_step_that_started_above_zero(q):
    steps = [i for i in range(1, len(q)) if q[i - 1] > 0]
    pit = first_pit(q)
    if not steps:
        assert pit is None
    else:
        assert pit in steps
        assert q[pit] == min(q[i] for i in steps)
        assert all(q[i] > q[pit] for i in steps if i < pit)


@given(st.lists(CHANCE, min_size=1, max_size=12))
def test_the_pit_of_a_negative_is_its_first_fall_to_zero(q):
    q = [*q, 0.0]
    falls = [i for i in range(1, len(q)) if q[i - 1] > 0 and q[i] == 0]
    assert first_pit(q) == (falls[0] if falls else None)
