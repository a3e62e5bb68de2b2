from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.evaluation.conclusion import conclude
from misstep.evaluation.estimates import CellWorth, Estimate, Worth
from misstep.evaluation.headline import headline
from misstep.evaluation.results import (
    Answers,
    Cell,
    Comparison,
    Point,
    Problems,
    Results,
    Training,
    read_results,
)

ANSWERS = Answers(samples=4, correct=2, wrong=2, unparsable=0, timeout=0, cut_off=0)
SIX = tuple(range(6))
NINE = Worth("=", 9.2, 4.6, 16.0, 2300.0)
NONE = Worth(reason="SFT was run at 2 sizes only: a curve needs at least 3.")


def cell(arm: str, layout: str | None = None, worth: Worth = NINE, seeds: Sequence[int] = SIX, **other: Any) -> Cell:
    method = arm if arm in ("sft", "rft") else "dpo"
    figures = CellWorth(None, other.pop("difference", None), worth, worth)
    accuracy = {1: Estimate(other.pop("accuracy", 0.5), 0.4, 0.6)}
    made: dict[str, Any] = {
        "arm": arm,
        "method": method,
        "layout": layout,
        "size": 250,
        "seeds": tuple(seeds),
        "maj_at": {},
    }
    return Cell.model_validate({**made, "pass_at": accuracy, "answers": ANSWERS, "worth": figures, **other})


SFT = cell("sft", worth=Worth(reason="This is SFT, the yardstick itself."), accuracy=0.3)
STEP, RANDOM = cell("dpo-step", "shared-prefix"), cell("dpo-random", "random")


def against(low: float, value: float, high: float, by_seed: Sequence[float], other: str = "dpo-random") -> Comparison:
    span = Estimate(value / 100, low / 100, high / 100)
    return Comparison(
        arm="dpo-step", against=other, size=250, difference=span,
        by_seed={seed: d / 100 for seed, d in enumerate(by_seed)},
    )  # fmt: skip


BETTER = against(8, 14, 20, (9, 12, 19, 14, 16, 14))


def results(cells: Sequence[Cell], *comparisons: Comparison, untrained: Sequence[tuple[str, int]] = ()) -> Results:
    points = [
        Point(
            arm=c.arm, method=c.method, layout=c.layout, size=c.size, seed=seed, problems=2, answers=ANSWERS,
            pass_at=c.pass_at, maj_at={},
            training=Training(trained=(c.arm, seed) not in untrained, reason="no pairs"),
        )
        for c in cells
        for seed in c.seeds
    ]  # fmt: skip
    problems = Problems(counts={})
    return Results(
        title="t", test_problems=120, seeds=SIX, sizes=(250,), bootstrap=100, yardstick="sft", fit=None, no_fit=None,
        cells=tuple(cells), comparisons=comparisons, median_factors={}, points=tuple(points), sampled=(), credit=(),
        problems=problems, conclusion="", notes=(),
    )  # fmt: skip


def test_the_whole_sentence() -> None:
    assert headline(results([SFT, RANDOM, STEP], BETTER)) == (
        "Learning from its own mistakes, credited step by step (dpo-step), made 250 problems worth as much as about "
        "2,300 are worth to plain fine-tuning: 9.2 times as many (95% interval 4.6 to 16, 6 seeds); the same mistakes "
        "in random pairs (dpo-random) did less on every seed (by 14.0 points, 8.0 to 20.0)."
    )


WORTHS = {
    "a bound": (
        Worth(">", 8.0, 6.1, None, 2000.0),
        "more than 2,000 are worth to plain fine-tuning: more than 8 times",
    ),
    "a bound's interval": (Worth(">", 8.0, 6.1, None, 2000.0), "as many (95% interval 6.1 or more, 6 seeds)"),
    "an open end": (Worth("=", 9.2, 4.6, None, 2300.0), "9.2 times as many (95% interval 4.6 or more, 6 seeds)"),
    "both ends open": (
        Worth("=", 9.2, None, None, 2300.0),
        "which cannot be told from plain fine-tuning (95% interval open at both ends, 6 seeds)",
    ),
    "an interval with 1 in it": (
        Worth("=", 1.4, 0.8, 3.1, 350.0),
        "1.4 times as many, which cannot be told from plain fine-tuning (95% interval 0.80 to 3.1, 6 seeds)",
    ),
    "open below 1": (Worth("=", 1.4, None, 3.1, 350.0), "cannot be told from plain fine-tuning (95% interval at most"),
    "a bound that 1 is in": (Worth(">", 8.0, 0.9, None, 2000.0), "cannot be told from plain fine-tuning"),
    "less": (Worth("=", 0.6, 0.5, 0.8, 150.0), "worth only as much as about 150 are worth to plain fine-tuning"),
    "less than measured": (
        Worth("<", 0.5, None, 0.7, 125.0),
        "less than 125 are worth to plain fine-tuning: less than 0.50 times as many (95% interval at most 0.70",
    ),
}


@pytest.mark.parametrize("case", WORTHS)
def test_what_it_is_worth(case: str) -> None:
    worth, words = WORTHS[case]
    assert words in headline(results([SFT, cell("dpo-step", "shared-prefix", worth), RANDOM], BETTER))


def test_points_where_there_is_no_factor() -> None:
    apart = cell("dpo-step", "shared-prefix", NONE, difference=Estimate(0.2, 0.1, 0.3))
    assert headline(results([SFT, apart])) == (
        "Learning from its own mistakes, credited step by step (dpo-step), solved 50.0% of the test problems with 250 "
        "problems, against 30.0% for plain fine-tuning (95% interval of the difference +10.0 to +30.0 points, 6 "
        "seeds); what that is worth in problems of plain fine-tuning cannot be said; what credit adds cannot be said, "
        "for no arm was trained on random pairs of the same problems."
    )
    alike = cell("dpo-step", "shared-prefix", NONE, difference=Estimate(0.2, -0.1, 0.3))
    assert "against 30.0% for plain fine-tuning, no clear difference (95%" in headline(results([SFT, alike]))
    alone = cell("dpo-step", "shared-prefix", NONE)
    assert "with 250 problems (95% interval 40.0 to 60.0%, 6 seeds)" in headline(results([alone]))


CREDIT = {
    "not on every seed": (
        against(1, 4, 7, (9, 4, -1)),
        "did less (by 4.0 points, 1.0 to 7.0), though not on every seed",
    ),
    "random pairs better": (against(-7, -4, -1, (-3, -5)), "did better on every seed (by 4.0 points, 1.0 to 7.0)"),
    "too few seeds": (
        against(-20, 11, 42, (9, 13)),
        "did less on every seed, by 11.0 points, but 2 seeds are too few to be sure (95% interval −20.0 to +42.0)",
    ),
    "not told": (
        against(-2, 1, 4, (3, -1)),
        "whether the same mistakes in random pairs (dpo-random) did less cannot be told (difference +1.0 points, 95% "
        "interval −2.0 to +4.0)",
    ),
    "one seed": (against(1, 4, 7, (4,)), "did less (by 4.0 points, 1.0 to 7.0)."),
    "an older file": (against(1, 4, 7, ()), "did less (by 4.0 points, 1.0 to 7.0)."),
}


@pytest.mark.parametrize("case", CREDIT)
def test_what_credit_adds(case: str) -> None:
    comparison, words = CREDIT[case]
    assert words in headline(results([SFT, STEP, RANDOM], comparison))


def test_pairs_cut_at_random_stand_in_where_there_are_no_random_ones() -> None:
    placebo = cell("dpo-placebo", "placebo-cut")
    first, second = against(3, 5, 7, (5, 5), "dpo-placebo"), against(8, 14, 20, (14, 14))
    both = headline(results([SFT, STEP, placebo, RANDOM], first, second))
    assert "random pairs (dpo-random) did less" in both and "placebo" not in both
    assert "the same mistakes cut at a random step (dpo-placebo) did less" in headline(results([STEP, placebo], first))
    paragraph = conclude(results([SFT, STEP, placebo, RANDOM], first, second))
    assert (
        "Against pairs that share a prefix at a random step (dpo-placebo), dpo-step is 5.0 points better" in paragraph
    )
    assert "Against random pairs (dpo-random), dpo-step is 14.0 points better (8.0 to 20.0, on every seed)" in paragraph


def test_the_arm_is_chosen_by_its_kind_and_place_not_by_its_accuracy() -> None:
    better = cell("dpo-later", "shared-prefix", accuracy=0.9)
    whole = cell("dpo-whole", "whole-response", accuracy=0.9)
    lucky = cell("dpo-lucky", "lucky-step", accuracy=0.9)
    assert "in which luck saved a step (dpo-lucky), " in headline(results([SFT, lucky]))
    assert "dpo-random" in headline(results([SFT, lucky, RANDOM])), "the first of a kind that others know"
    oracle = cell("dpo-oracle", "oracle-pit", accuracy=0.9)
    second_round = cell("dpo-again", "shared-prefix", accuracy=0.9, from_arm="dpo-step")
    for others in ([second_round, oracle, whole], [whole, oracle]):
        told = headline(results([SFT, *others, STEP, better]))
        assert told.startswith("Learning from its own mistakes, credited step by step (dpo-step), ")
    assert headline(results([SFT, RANDOM, oracle, whole])).startswith(
        "Learning from its own mistakes, credited step by"
    )
    assert headline(results([SFT, RANDOM, cell("rft")])).startswith("Learning from its own right solutions (rft) made")
    assert "credit" not in headline(results([SFT, RANDOM, cell("rft")]))
    assert "with the true first error given (dpo-oracle), made" in headline(results([SFT, oracle]))


def test_a_credited_arm_is_described_at_the_size_at_which_it_was_run() -> None:
    elsewhere = [cell("rft", size=500), cell("dpo-random", "random", size=500)]
    assert "(dpo-step), made 250 problems" in headline(results([SFT, *elsewhere, STEP]))
    both = [cell("dpo-step", "shared-prefix", size=500), *elsewhere, STEP]
    assert "(dpo-step), made 500 problems" in headline(results([SFT, *both]))


def test_one_seed_cannot_rule_out_luck() -> None:
    one = cell("dpo-step", "shared-prefix", seeds=(0,))
    assert "(95% interval 4.6 to 16, one seed, which cannot rule out luck)" in headline(results([SFT, one]))


def test_what_was_not_trained() -> None:
    cells = [SFT, cell("dpo-step", "shared-prefix", seeds=(0, 1))]
    both, one = [("dpo-step", 0), ("dpo-step", 1)], [("dpo-step", 1)]
    subject = "Learning from its own mistakes, credited step by step (dpo-step), did not take place"
    assert headline(results(cells, untrained=both)) == f"{subject} with 250 problems: no pairs."
    assert headline(results(cells, untrained=one)) == f"{subject} on every seed with 250 problems: no pairs."


def test_nothing_to_tell() -> None:
    assert headline(results([])) == "No model was tested, so there is no result."
    assert headline(results([SFT])) == "Only plain fine-tuning was run, so there is nothing to compare with it."
    unsolved = [cell("sft", worth=NONE, accuracy=0.0), cell("rft", worth=NONE, accuracy=0.0)]
    assert headline(results(unsolved)) == "No model solved any of the 120 test problems, so there is no result."


ends = st.none() | st.floats(0.1, 60.0)


@given(
    st.sampled_from(["=", ">", "<"]), st.floats(0.1, 60.0), ends, ends, st.integers(1, 7),
    st.tuples(st.floats(-40, 40), st.floats(0, 30)), st.lists(st.floats(-40, 40), max_size=6),
)  # fmt: skip
def test_every_case_is_one_sentence(
    relation: Any,
    factor: float,
    low: float | None,
    high: float | None,
    seeds: int,
    d: tuple[float, float],
    by: list[float],
) -> None:
    worth = Worth(relation, factor, low, high, 250 * factor)
    step = cell("dpo-step", "shared-prefix", worth, range(seeds))
    told = headline(results([SFT, step, RANDOM], against(d[0] - d[1], d[0], d[0] + d[1], by)))
    assert told.endswith(".") and ". " not in told and "  " not in told and "None" not in told
    sure = (low is not None and low > 1.0) or (high is not None and high < 1.0)
    assert ("cannot be told from plain fine-tuning" in told) is not sure


def test_an_older_file_of_results_still_loads() -> None:
    made = results([SFT, STEP, RANDOM], BETTER)
    old = made.model_dump(mode="json")
    del old["headline"]
    for record in (*old["cells"], *old["points"]):
        del record["from_arm"]
    del old["comparisons"][0]["by_seed"]
    read = read_results(Results.model_validate(old).to_json())
    assert (read.headline, read.comparisons[0].by_seed, read.comparisons[0].on_every_seed) == ("", {}, False)
