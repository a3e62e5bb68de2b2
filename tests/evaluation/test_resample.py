from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

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


def alike(arm: str, seed: int, accuracy: float) -> GridOutcome:
    """All problems have one accuracy, so that only seeds are left to chance."""
    return outcome(arm, 10, seed, np.full(5, accuracy))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda seeds: st.lists(
            st.lists(st.floats(0.2, 0.8), min_size=seeds, max_size=seeds), min_size=2, max_size=4, unique_by=tuple
        )
    ),
    st.data(),
)
def test_every_weighted_sum_of_cells_has_its_t_interval(accuracies: list[list[float]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(-1, 1), min_size=len(accuracies), max_size=len(accuracies)))
    outcomes = [alike(str(arm), s, value) for arm, of in enumerate(accuracies) for s, value in enumerate(of)]
    cells = cells_of(outcomes)
    replicates = resample(outcomes, cells, 8192, 1)
    drawn = sum(w * replicates.error(cell) for w, cell in zip(weights, cells, strict=True))
    by_seed = -np.array(weights) @ np.array(accuracies)
    seeds = len(by_seed)
    half = stats.t.ppf(0.975, seeds - 1) * by_seed.std(ddof=1) / np.sqrt(seeds)
    low, high = np.quantile(np.asarray(drawn)[1:] - np.asarray(drawn)[0], [0.025, 0.975])
    assert (low, high) == pytest.approx((-half, half), rel=0.12, abs=1e-6)


def test_arms_that_move_together_by_seed_keep_their_difference() -> None:
    outcomes = [alike(arm, s, 0.4 + s / 10 + (arm == "dpo") / 5) for arm in ("sft", "dpo") for s in (0, 1, 2)]
    cells = cells_of(outcomes)
    replicates = resample(outcomes, cells, 500, 1)
    one, other = (replicates.error(cell) for cell in cells)
    assert one - other == pytest.approx(np.full(501, 0.2))
    assert one[1:].std() > 0.05


def test_one_seed_shows_no_luck_and_row_0_is_the_measurement() -> None:
    outcomes = [alike("sft", seed, 0.5 + seed / 10) for seed in (0, 1, 2)] + [alike("dpo", 2, 0.25)]
    cells = cells_of(outcomes)
    replicates = resample(outcomes, cells, 200, 1)
    assert np.array_equal(replicates.error(cells[1]), np.full(201, 0.75))
    assert [replicates.luck[c][0] for c in cells] == [0.0, 0.0]
    assert replicates.error(cells[0])[0] == pytest.approx(0.4)


def test_cells_of_other_seeds_have_luck_of_their_own() -> None:
    outcomes = [alike(arm, s, 0.5 + s % 2 / 10) for arm, seeds in (("sft", (0, 1)), ("dpo", (2, 3))) for s in seeds]
    one, other = (resample(outcomes, cells_of(outcomes), 4096, 1).luck[c][1:] for c in cells_of(outcomes))
    assert abs(np.corrcoef(np.sign(one), np.sign(other))[0, 1]) < 0.06
    assert np.quantile(one, 0.975) == pytest.approx(np.quantile(other, 0.975), rel=0.2)


def test_cells_keep_the_order_of_arms_and_sort_sizes() -> None:
    grid = [("b", 20, 0), ("b", 10, 0), ("a", 10, 1), ("b", 10, 1)]
    cells = cells_of([outcome(arm, size, seed, np.zeros(3)) for arm, size, seed in grid])
    assert [(c.arm, c.size, c.points) for c in cells] == [("b", 10, (1, 3)), ("b", 20, (0,)), ("a", 10, (2,))]
