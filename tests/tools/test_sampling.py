"""The sample of faults and sweeps in an ordinary pytest run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.sampling import cases, named, sample

COSTS = {f"test_{number}": 20.0 + 10 * number for number in range(8)}


@given(st.text(max_size=8))
def test_a_sample_fits_the_budget_and_is_the_same_for_a_seed(seed: str) -> None:
    chosen = sample(COSTS, seed, 150)
    assert chosen
    assert sum(COSTS[name] for name in chosen) <= 150
    assert not [name for name in set(COSTS) - chosen if COSTS[name] <= 150 - sum(COSTS[each] for each in chosen)]
    assert sample(dict(reversed(COSTS.items())), seed, 150) == chosen


def test_every_test_is_drawn_by_some_seed() -> None:
    assert set().union(*(sample(COSTS, str(seed), 150) for seed in range(40))) == set(COSTS)


@given(st.text(max_size=8), st.integers(1, 9))
def test_each_sweep_has_as_many_cases_as_it_keeps(seed: str, keep: int) -> None:
    names = [f"a.py::test_{sweep}[{case}]" for sweep in "xy" for case in "abcde"]
    chosen = cases(names, {"a.py::test_x": keep, "a.py::test_y": 2}, seed)
    assert len([name for name in chosen if "test_x[" in name]) == min(keep, 5)
    assert len([name for name in chosen if "test_y[" in name]) == 2
    assert cases(reversed(names), {"a.py::test_x": keep, "a.py::test_y": 2}, seed) == chosen


def test_every_case_is_drawn_by_some_seed() -> None:
    names = [f"a.py::test_x[{case}]" for case in range(10)]
    assert set().union(*(cases(names, {"a.py::test_x": 2}, str(seed)) for seed in range(60))) == set(names)


def test_a_file_of_faults_is_named_and_a_folder_is_not() -> None:
    assert named(["tests", "tests/cluster/test_faults_api.py"])
    assert named(["tests/cluster/test_faults_api.py::test_one"])
    assert not named(["tests", "tests/cluster", "tests/e2e/"])
