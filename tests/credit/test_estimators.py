from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.estimators import SEARCHES, Estimator, OrderName
from misstep.credit.values import first_pit

NAMES = sorted(SEARCHES)
ANY_Q = st.lists(st.sampled_from([0.0, 0.0, 0.3, 1.0]), min_size=1, max_size=24).map(lambda q: [*q, 0.0])
FALLING_Q = st.tuples(st.integers(1, 24), st.integers(0, 12)).map(lambda n: [0.5] * n[0] + [0.0] * (n[1] + 1))


def search(name: OrderName, q: list[float], order: random.Random | None = None) -> tuple[Estimator, list[int]]:
    """Let an estimator ask until it is done; return it and what it asked for."""
    estimator = Estimator(name, len(q) - 1)
    asked: list[int] = []
    pending = list(estimator.start())
    while pending:
        prefix = pending.pop(order.randrange(len(pending)) if order else 0)
        asked.append(prefix)
        pending += estimator.observe(prefix, q[prefix] > 0)
    assert estimator.done
    return estimator, asked


@pytest.mark.parametrize("name", NAMES)
@given(q=ANY_Q, seed=st.integers(0, 99))
def test_asks_for_each_prefix_once_and_never_for_the_whole_response(name, q, seed):
    estimator, asked = search(name, q, random.Random(seed))
    assert len(set(asked)) == len(asked)
    assert set(asked) <= set(range(len(q) - 1))
    assert estimator.alive == {prefix: q[prefix] > 0 for prefix in (*asked, len(q) - 1)}


@pytest.mark.parametrize("name", NAMES)
@given(q=ANY_Q)
def test_a_problem_never_solved_costs_nothing_and_has_no_pit(name, q):
    estimator, asked = search(name, [0.0, *q[1:]] if len(q) > 1 else [0.0, 0.0])
    assert asked == [0]
    assert estimator.pit is None


@given(q=ANY_Q, seed=st.integers(0, 99))
def test_full_scan_and_sequential_find_the_first_pit_whatever_q(q, seed):
    q[0] = 0.4
    assert search("full-scan", q, random.Random(seed))[0].pit == first_pit(q)
    assert search("sequential", q)[0].pit == first_pit(q)


@given(q=FALLING_Q)
def test_bisection_finds_the_pit_where_q_stays_zero(q):
    estimator, asked = search("bisection", q)
    steps = len(q) - 1
    assert estimator.pit == first_pit(q)
    assert len(asked) <= math.ceil(math.log2(steps)) + 2  # the bare problem, the halves, one check


@given(q=ANY_Q)
def test_bisection_always_ends_at_a_fall_to_zero(q):
    q[0] = 0.4
    pit = search("bisection", q)[0].pit
    assert pit is not None
    assert q[pit - 1] > 0
    assert q[pit] == 0


def test_bisection_scans_where_a_solved_prefix_follows_its_pit():
    # It halves to the fall at 4, sees that 5 was solved, and then finds the fall at 1 that it had leapt over.
    q = [0.5, 0.0, 0.5, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    estimator, asked = search("bisection", q)
    assert asked == [0, 4, 2, 3, 5, 1]
    assert estimator.pit == first_pit(q) == 1


@given(q=FALLING_Q)
def test_sequential_stops_at_the_pit(q):
    estimator, asked = search("sequential", q)
    assert estimator.pit is not None
    assert asked == list(range(min(estimator.pit, len(q) - 2) + 1))


def test_a_response_has_a_step():
    with pytest.raises(ValueError, match="at least one step"):
        Estimator("sequential", 0)
