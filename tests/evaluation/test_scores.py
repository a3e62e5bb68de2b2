from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from misstep.evaluation.scores import (
    Tally,
    mean_estimate,
    pass_at_k,
    pass_curve,
    same_answer_key,
    wilson,
)
from misstep.terms.verdict import Verdict

counts = st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@given(counts)
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(case: tuple[int, int, int]) -> None:
    n, c, k = case
    samples = [i < c for i in range(n)]
    subsets = list(combinations(samples, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


@given(counts)
def test_pass_at_k_grows_with_k_and_with_successes(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    if k < n:
        assert pass_at_k(n, c, k + 1) >= pass_at_k(n, c, k)
    if c < n:
        assert pass_at_k(n, c + 1, k) >= pass_at_k(n, c, k)


def test_pass_at_k_is_unbiased() -> None:
    rng = np.random.default_rng(3)
    p, n, k = 0.23, 6, 4
    drawn = [pass_at_k(n, int(c), k) for c in rng.binomial(n, p, size=20_000)]
    assert np.mean(drawn) == pytest.approx(1 - (1 - p) ** k, abs=0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_pass_at_k_refuses_what_cannot_be_estimated(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="needs"):
        pass_at_k(n, c, k)


def test_pass_curve_leaves_out_k_that_a_problem_has_too_few_samples_for() -> None:
    assert list(pass_curve([4, 3], [1, 0], (1, 2, 3, 4, 8))) == [1, 2, 3]
    assert pass_curve([], [], (1,)) == {}


answers = st.sampled_from(["3", "3.0", " 3", "5", "7", "x+1", r"\frac{1}{2}"])


@given(st.lists(st.tuples(st.sampled_from(Verdict), answers), max_size=9))
def test_majority_is_the_expected_outcome_of_a_vote(samples: list[tuple[Verdict, str]]) -> None:
    tally = Tally()
    for verdict, answer in samples:
        tally.add(verdict, answer if verdict in ("correct", "wrong") else None)
    votes = [(same_answer_key(a), v == "correct") for v, a in samples if v in ("correct", "wrong")]
    named, chance = tally.majority()
    if not votes:
        assert (named, chance) == (None, 0.0)
        return
    by_answer = Counter(answer for answer, _ in votes)
    winners = [answer for answer, count in by_answer.items() if count == max(by_answer.values())]
    right = [np.mean([ok for answer, ok in votes if answer == winner]) for winner in winners]
    assert chance == pytest.approx(np.mean(right))
    assert named in winners
    assert tally.samples == len(samples)


def test_a_tie_counts_half() -> None:
    tally = Tally()
    for verdict, answer in (("correct", "3"), ("wrong", "5"), ("unparsable", None), ("timeout", "3")):
        tally.add(Verdict(verdict), answer)
    assert tally.majority() == ("3", 0.5)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1,000", "1000.0", True),
        ("$ 12 $", "12.", True),
        ("+3", "3", True),
        ("x + 1", "x  +\n1", True),
        ("1,00", "100", False),
        ("0.5", "2/4", True),
        ("1/0", "2/0", False),
        ("-3", "3", False),
        ("9" * 5000, "9" * 5001, False),
    ],
)
def test_answers_are_equal_by_value_or_by_text(one: str, other: str, same: bool) -> None:
    assert (same_answer_key(one) == same_answer_key(other)) is same


def test_wilson_at_the_ends() -> None:
    assert wilson(0.0, 24)[0] == 0.0
    assert wilson(0.0, 24)[1] == pytest.approx(0.138, abs=5e-4)  # z^2 / (n + z^2)
    assert wilson(1.0, 24) == pytest.approx((0.862, 1.0), abs=5e-4)
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


outcomes = st.integers(1, 3).flatmap(
    lambda seeds: st.lists(st.lists(st.integers(0, 4), min_size=seeds, max_size=seeds), min_size=1, max_size=12)
)


@given(outcomes)
def test_an_interval_holds_its_mean(rows: list[list[int]]) -> None:
    values = np.array(rows, dtype=np.float64).T / 4
    estimate = mean_estimate(values, values.size * 4)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.high > estimate.low  # nothing is ever certain


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_one_sample_and_one_seed_give_wilsons_own_interval(correct: list[bool]) -> None:
    values = np.array([correct], dtype=np.float64)
    estimate = mean_estimate(values, len(correct))
    assert (estimate.low, estimate.high) == pytest.approx(wilson(float(values.mean()), len(correct)))


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = np.tile([0.0, 1.0], 50)
    same = mean_estimate(np.stack([alike, alike]), 200)
    apart = mean_estimate(np.stack([np.tile([0.0, 0.0, 1.0, 0.0], 25), np.tile([1.0, 1.0, 0.0, 1.0], 25)]), 200)
    assert same.value == apart.value == 0.5
    assert apart.high - apart.low > 2 * (same.high - same.low)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_where_problems_are_alike_seeds_give_students_interval(seeds: int) -> None:
    means = 0.5 + 0.002 * np.arange(seeds)
    estimate = mean_estimate(np.repeat(means[:, None], 5000, axis=1), 10**9)
    half = stats.t.ppf(0.975, seeds - 1) * means.std(ddof=1) / np.sqrt(seeds)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.01)


def test_intervals_cover_at_their_level() -> None:
    """1,000 experiments of 120 problems of differing difficulty with 4 samples each."""
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(1000):
        chance = rng.beta(0.6, 1.4, size=120)  # mean 0.3
        estimate = mean_estimate(rng.binomial(4, chance)[None, :] / 4, 480)
        held += estimate.low <= 0.3 <= estimate.high
    assert 930 <= held <= 970


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(ValueError, match="no outcomes"):
        mean_estimate(np.zeros((0, 3)), 0)
