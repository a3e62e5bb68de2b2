"""Intervals, the committed figures and the pictures that are drawn from them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t
from study.design import designs
from study.figures import Figures, difference, estimate
from study.pictures import pictures

from study import figures


def test_without_noise_of_problems_the_interval_is_students() -> None:
    by_seed = np.array([0.4, 0.5, 0.45, 0.6])
    found = estimate(np.repeat(by_seed[:, None], 50, axis=1))
    width = t.ppf(0.975, 3) * by_seed.std(ddof=1) / 2
    assert found.value == pytest.approx(by_seed.mean())
    assert (found.value - found.low, found.high - found.value) == pytest.approx((width, width), rel=1e-3)


def test_without_luck_of_seeds_the_interval_is_that_of_problems() -> None:
    problems = np.random.default_rng(0).random(400)
    found = estimate(np.repeat(problems[None, :], 4, axis=0))
    assert found.high - found.value == pytest.approx(1.96 * problems.std(ddof=1) / math.sqrt(400), rel=1e-3)


@given(st.integers(0, 1000))
def test_what_two_arms_have_in_common_does_not_widen_their_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.random((4, 60))
    found = difference(one + 0.25, one)
    assert (found.low, found.value, found.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-9)
    assert difference(one, one[::-1]).value == pytest.approx(0.0, abs=1e-12)


def test_the_committed_figures_are_of_every_experiment_and_come_back_as_they_were(tmp_path: Path) -> None:
    found = figures.read()
    names = [design.name for design in designs()]
    assert [name for name in names if name in found.arms] == list(found.arms)
    for design in designs():
        arms = {arm["name"] for arm in design.experiment["spec"]["arms"]}
        assert set(found.arms[design.name]) == arms, f"{design.name}: run study/run.py and study/collect.py"
        for arm in found.arms[design.name].values():
            assert len(arm.by_seed) == len(design.experiment["spec"]["seeds"])
            assert arm.accuracy.low <= arm.accuracy.value <= arm.accuracy.high
    figures.write(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == figures.FILE.read_text()


def test_nothing_measured_gives_no_pictures() -> None:
    assert pictures(Figures({}, {})) == {}
