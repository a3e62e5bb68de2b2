from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.evaluation.efficiency import Efficiency, median_factor, needed_ratio
from misstep.evaluation.estimates import CellWorth, Worth
from misstep.evaluation.resample import GridOutcome, cells_of

SIZES = (125, 250, 500, 1000, 2000)
PROBLEMS = 200


def outcome(
    arm: str, size: int, error: float, seed: int = 0, problems: int = PROBLEMS, untrained: str | None = None
) -> GridOutcome:
    """Every problem has the same accuracy: nothing is left to the choice of problems."""
    accuracy = np.full(problems, 1.0 - error)
    return GridOutcome(arm, "sft" if arm == "sft" else "dpo", size, seed, accuracy, problems * 4, untrained)


def drawn(arm: str, size: int, error: float, rng: np.random.Generator, seed: int = 0, n: int = 600) -> GridOutcome:
    accuracy = rng.binomial(4, rng.beta(2 * (1 - error), 2 * error, size=n)) / 4
    return GridOutcome(arm, "sft" if arm == "sft" else "dpo", size, seed, accuracy, 4 * n)


def sft(b: float, sizes: Sequence[int] = SIZES, first: float = 0.8, problems: int = PROBLEMS) -> list[GridOutcome]:
    return [outcome("sft", d, first * (d / sizes[0]) ** -b, problems=problems) for d in sizes]


def worth_of(outcomes: list[GridOutcome], arm: str = "dpo", replicates: int = 120) -> CellWorth:
    efficiency = Efficiency(outcomes, replicates, 5)
    return efficiency.worth(next(c for c in efficiency.cells if c.arm == arm))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.04, 0.4), st.floats(1.0, 7.9), st.sampled_from([125, 250]))
def test_a_planted_factor_is_recovered(b: float, factor: float, size: int) -> None:
    error = 0.8 * (size * factor / SIZES[0]) ** -b
    found = worth_of([*sft(b), outcome("dpo", size, error)])
    for worth in (found.fitted, found.interpolated):
        assert worth.relation == "="
        assert worth.factor == pytest.approx(factor, rel=1e-5)
        assert worth.needed == pytest.approx(size * factor, rel=1e-5)
    assert found.error_ratio is not None
    assert found.error_ratio.value == pytest.approx(factor**-b)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.8 * (size / SIZES[0]) ** -b - error)


def test_eight_times_is_a_small_difference_of_error() -> None:
    assert needed_ratio(8.0, 0.15) == pytest.approx(0.73, abs=0.005)
    assert needed_ratio(8.0, 0.05) == pytest.approx(0.90, abs=0.005)


def test_one_seed_takes_the_scatter_about_the_line_for_the_luck_of_training() -> None:
    def width(noise: float) -> float:
        signs = (1, -1, 1, -1, 1)
        curve = [
            outcome("sft", d, 0.8 * (d / 125) ** -0.2 * np.exp(s * noise)) for d, s in zip(SIZES, signs, strict=True)
        ]
        worth = worth_of([*curve, outcome("dpo", 250, 0.5)], replicates=400).fitted
        assert worth.low is not None and worth.high is not None
        return worth.high / worth.low

    assert width(0.0) == pytest.approx(1.0, abs=1e-6)
    assert width(0.03) > 1.3


def test_beyond_twice_the_largest_size_only_a_bound_is_given() -> None:
    found = worth_of([*sft(0.2), outcome("dpo", 250, 0.2)])
    assert (found.interpolated.relation, found.interpolated.factor, found.interpolated.high) == (">", 8.0, None)
    assert found.fitted.relation is None
    assert "over twice the largest size" in (found.fitted.reason or "")


def test_worse_than_sft_at_its_smallest_size() -> None:
    found = worth_of([*sft(0.2), outcome("dpo", 250, 0.95)])
    assert (found.interpolated.relation, found.interpolated.factor, found.interpolated.low) == ("<", 0.5, None)
    assert "less than half of the smallest size" in (found.fitted.reason or "")


def test_an_end_beyond_what_was_measured_is_open() -> None:
    rng = np.random.default_rng(0)
    curve = [drawn("sft", d, 0.8 * (d / 125) ** -0.1, rng) for d in SIZES]
    worth = worth_of([*curve, drawn("dpo", 250, 0.8 * (3000 / 125) ** -0.1, rng)], replicates=400).interpolated
    assert worth.high is None
    assert worth.low is not None and worth.factor is not None and worth.low < worth.factor


def test_seeds_that_disagree_open_an_interval() -> None:
    """Two seeds of 3,000 and 90 problems of SFT: nothing can be said, on either side."""
    curve = [outcome("sft", d, 0.8 * (d / 125) ** -0.2, seed) for d in SIZES for seed in (0, 1)]
    apart = [outcome("dpo", 250, 0.8 * (d / 125) ** -0.2, seed) for seed, d in enumerate((3000, 90))]
    worth = worth_of([*curve, *apart], replicates=400).interpolated
    assert (worth.relation, worth.low, worth.high) == ("=", None, None)
    above = [outcome("dpo", 250, error, seed) for seed, error in enumerate((0.05, 0.5))]
    worth = worth_of([*curve, *above], replicates=400).interpolated
    assert (worth.relation, worth.factor, worth.low, worth.high) == (">", 8.0, None, None)
    below = [outcome("dpo", 250, error, seed) for seed, error in enumerate((0.6, 1.0))]
    worth = worth_of([*curve, *below], replicates=400).interpolated
    assert (worth.relation, worth.low) == ("=", None)


def test_luck_never_takes_an_error_out_of_its_range() -> None:
    """Seeds at 2% and 20% error: two standard errors below the mean there is no error left."""
    curve = [outcome("sft", d, 0.8 * (d / 125) ** -0.4, seed) for d in SIZES for seed in (0, 1)]
    found = worth_of([*curve, *(outcome("dpo", 250, error, seed) for seed, error in enumerate((0.02, 0.2)))])
    assert found.error_ratio is not None and 0.0 < found.error_ratio.low < found.error_ratio.value
    assert found.difference is not None and -1.0 <= found.difference.low <= found.difference.high <= 1.0


def test_the_exponent_rests_on_all_trainings_not_on_the_number_of_seeds() -> None:
    """Ten trainings that scatter by 2% about the line: two seeds do not hide that it falls."""
    rng = np.random.default_rng(3)
    noise = np.exp(rng.normal(0, 0.02, (2, len(SIZES))))
    curve = [outcome("sft", d, 0.8 * (d / 125) ** -0.2 * noise[s, i], s) for i, d in enumerate(SIZES) for s in (0, 1)]
    fit = Efficiency([*curve, outcome("dpo", 250, 0.5)], 500, 5).fit
    assert fit is not None
    assert 0.15 < fit.b.low < 0.2 < fit.b.high < 0.25


REFUSALS = {
    "too few test problems": (
        [*sft(0.2, problems=49), outcome("dpo", 250, 0.5, problems=49)],
        "Only 49 test problems",
    ),
    "two sizes": ([*sft(0.2, (125, 2000)), outcome("dpo", 250, 0.5)], "at 2 sizes only"),
    "no SFT": ([outcome("dpo", d, 0.5) for d in SIZES], "no SFT arm"),
    "nothing solved": (
        [*sft(0.0, first=1.0), outcome("dpo", 250, 0.9)],
        "solves none of the test problems at any size",
    ),
    "all errors equal": ([*sft(0.0), outcome("dpo", 250, 0.5)], "the same at every size"),
    "SFT gets worse": ([*sft(-0.05), outcome("dpo", 250, 0.5)], "cannot be told from zero"),
    "method solves nothing": ([*sft(0.2), outcome("dpo", 250, 1.0)], "solves none"),
    "not trained": ([*sft(0.2), outcome("dpo", 250, 0.5, untrained="no pairs")], "Nothing was trained here: no pairs."),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_no_factor_where_the_data_cannot_carry_one(case: str) -> None:
    outcomes, words = REFUSALS[case]
    found = worth_of(outcomes)
    for worth in (found.fitted, found.interpolated):
        assert (worth.relation, worth.factor, worth.low, worth.high) == (None, None, None, None)
        assert words in (worth.reason or "")


def test_a_slope_within_its_noise_carries_no_factor() -> None:
    rng = np.random.default_rng(4)
    curve = [drawn("sft", d, 0.6, rng, n=80) for d in SIZES]
    found = worth_of([*curve, drawn("dpo", 250, 0.5, rng, n=80)])
    assert "cannot be told from zero" in (found.fitted.reason or "")


def test_sft_itself_has_no_factor() -> None:
    found = worth_of(sft(0.2), "sft")
    assert found.error_ratio is None and found.difference is None
    assert "yardstick" in (found.fitted.reason or "")


def test_all_arms_share_the_resampled_problems() -> None:
    rng = np.random.default_rng(1)
    curve = [drawn("sft", d, 0.8 * (d / 125) ** -0.2, rng) for d in SIZES]
    twin = GridOutcome("dpo", "dpo", 250, 0, curve[1].accuracy, curve[1].draws)
    efficiency = Efficiency([*curve[:2], twin], 150, 9)  # two sizes: no curve, hence no scatter about it
    cells = {(c.arm, c.size): c for c in efficiency.cells}
    difference = efficiency.difference(cells["dpo", 250], cells["sft", 250])
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_figures() -> None:
    def run(seed: int) -> list[CellWorth]:
        rng = np.random.default_rng(6)
        outcomes = [drawn("sft", d, 0.8 * (d / 125) ** -0.2, rng, s) for s in (0, 1) for d in SIZES]
        outcomes += [drawn("dpo", 250, 0.5, rng, s) for s in (0, 1)]
        efficiency = Efficiency(outcomes, 200, seed)
        return [efficiency.worth(c) for c in efficiency.cells]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_arms_may_differ_in_their_seeds() -> None:
    rng = np.random.default_rng(8)
    outcomes = [drawn("sft", d, 0.8 * (d / 125) ** -0.2, rng, s) for s in (0, 1, 2) for d in SIZES]
    outcomes.append(drawn("dpo", 250, 0.5, rng, 2))
    assert worth_of(outcomes).fitted.relation == "="
    assert [len(c.points) for c in cells_of(outcomes)] == [3, 3, 3, 3, 3, 1]


def test_a_median_needs_a_number_at_each_of_several_sizes() -> None:
    number = {d: Worth("=", f) for d, f in ((1, 2.0), (2, 8.0), (4, 4.0))}
    assert median_factor(number) == 4.0
    assert median_factor(number | {8: Worth(">", 3.0)}) is None
    assert median_factor({1: Worth("=", 2.0)}) is None
