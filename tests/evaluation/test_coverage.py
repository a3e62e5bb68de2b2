"""Coverage of the report's 95% intervals in simulated experiments; `benchmarks/coverage.py` prints it at length."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.coverage import STATEMENTS, Setting, coverage, experiment, intervals_before, intervals_now, simulate


def shares(setting: Setting, seeds: int, experiments: int, rule: object = intervals_now) -> dict[str, float]:
    found = simulate(setting, seeds, experiments, rule)  # type: ignore[arg-type]
    return {statement: coverage(found[statement], setting.truth[statement]) for statement in STATEMENTS}


def test_experiments_have_the_errors_that_they_are_said_to_have() -> None:
    setting = Setting(problems=1000)
    rng = np.random.default_rng(0)
    drawn = [outcome for _ in range(30) for outcome in experiment(setting, 2, rng)]
    for arm, size in {(o.arm, o.size) for o in drawn}:
        mean = np.mean([1.0 - o.accuracy.mean() for o in drawn if (o.arm, o.size) == (arm, size)])
        assert mean == pytest.approx(setting.error(arm, size), abs=0.025)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int) -> None:
    now = shares(Setting(problems=300), seeds, 250)
    assert all(share >= 0.93 for share in now.values()), now


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.83), (3, 0.90)])
def test_drawing_seeds_with_replacement_holds_it_too_rarely(seeds: int, most: float) -> None:
    before = shares(Setting(problems=600), seeds, 250, intervals_before)
    assert all(share < most for share in before.values()), before


@pytest.mark.slow
@pytest.mark.sweep(keep=3)
@pytest.mark.parametrize("seeds", [2, 3, 6])
@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(samples=2, luck=0.08),
        Setting(problems=1500, luck=0.02),
        Setting(b=0.1, factor=2.0, luck=0.03),
    ],
    ids=["plain", "much luck", "little luck", "flat curve"],
)
def test_intervals_hold_the_truth_in_many_experiments(setting: Setting, seeds: int) -> None:
    now = shares(setting, seeds, 800)
    assert all(share >= 0.93 for share in now.values()), now
