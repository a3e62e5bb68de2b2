from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.evaluation.resample import GridOutcome, cells_of, resample


def outcome(arm: str, size: int, seed: int, accuracy: np.ndarray) -> GridOutcome:
    return GridOutcome(arm, "sft", size, seed, accuracy, 4 * len(accuracy))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(1, 300))
def test_problems_that_are_all_alike_leave_nothing_to_chance(accuracy: float, problems: int) -> None:
    outcomes = [outcome("sft", 10, 0, np.full(problems, accuracy))]
    replicates = resample(outcomes, cells_of(outcomes), 30, 1)
    assert replicates.points == pytest.approx(np.full((31, 1), 1.0 - accuracy), abs=1e-12)


def test_replicates_spread_as_the_mean_of_problems_does() -> None:
    rng = np.random.default_rng(0)
    outcomes = [outcome("sft", 10, 0, rng.binomial(4, 0.4, size=200) / 4)]
    replicates = resample(outcomes, cells_of(outcomes), 4000, 1).points[:, 0]
    expected = outcomes[0].accuracy.std() / np.sqrt(200)
    assert replicates[0] == pytest.approx(1.0 - outcomes[0].accuracy.mean())
    assert replicates[1:].mean() == pytest.approx(replicates[0], abs=4 * expected / np.sqrt(4000))
    assert replicates[1:].std() == pytest.approx(expected, rel=0.05)


def test_seeds_are_drawn_alike_for_all_arms() -> None:
    outcomes = [outcome(arm, 10, seed, np.full(5, seed / 4)) for arm in ("sft", "dpo") for seed in (0, 1, 2)]
    cells = cells_of(outcomes)
    replicates = resample(outcomes, cells, 500, 1)
    one, other = (replicates.cell_errors(cell) for cell in cells)
    assert np.array_equal(one, other)
    assert one[0] == pytest.approx(0.75)
    assert set(np.round(np.unique(one) * 12)) == set(range(6, 13))  # every mean of three draws of 1, 3/4 and 1/2


def test_a_cell_without_the_drawn_seeds_keeps_its_own() -> None:
    outcomes = [outcome("sft", 10, seed, np.full(5, 0.5)) for seed in (0, 1, 2)]
    outcomes.append(outcome("dpo", 10, 2, np.full(5, 0.25)))
    cells = cells_of(outcomes)
    errors = resample(outcomes, cells, 200, 1).cell_errors(cells[1])
    assert np.array_equal(errors, np.full(201, 0.75))


def test_cells_keep_the_order_of_arms_and_sort_sizes() -> None:
    grid = [("b", 20, 0), ("b", 10, 0), ("a", 10, 1), ("b", 10, 1)]
    cells = cells_of([outcome(arm, size, seed, np.zeros(3)) for arm, size, seed in grid])
    assert [(c.arm, c.size, c.points) for c in cells] == [("b", 10, (1, 3)), ("b", 20, (0,)), ("a", 10, (2,))]
