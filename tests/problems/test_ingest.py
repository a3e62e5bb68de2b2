"""Checks on raw problems: nothing is lost without a count, nothing is in two splits."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.problems.ingest import Ingest, check_split, hold_out, leave_out_overlap
from misstep.problems.raw import RawProblem, problem_id


def raw(*questions: str, gold: str = "1") -> list[RawProblem]:
    return [RawProblem(q, gold, f"it is {gold}\n#### {gold}", f"line {i}") for i, q in enumerate(questions, 1)]


def check(into: Ingest, split: str, problems: Iterable[RawProblem], seen: set[str], percent: int = 1) -> None:
    check_split(into, split, problems, str.isdigit, percent, None, seen)


def test_duplicates_are_dropped_and_counted_also_across_splits() -> None:
    found, seen = Ingest(), set[str]()
    check(found, "test", raw("What is one?"), seen)
    check(found, "train", raw("what is  ONE?", "What is two?", "What is two?"), seen)
    assert [(p.split, p.question) for p in found.problems] == [("test", "What is one?"), ("train", "What is two?")]
    assert found.duplicates == {"train": 2}


def test_unreadable_gold_is_dropped_with_a_count_and_named() -> None:
    found = Ingest()
    check(found, "train", raw(*map(str, range(100))) + raw("last", gold="?"), set())
    assert found.bad_gold == {"train": 1} and "'?'" in found.bad_gold_examples[0]
    assert len(found.problems) == 100


def test_too_much_unreadable_gold_is_fatal() -> None:
    with pytest.raises(BadInput, match="2 of 5 problems have a final answer"):
        check(Ingest(), "train", raw("a", "b", "c") + raw("d", "e", gold="?"), set())


def test_an_empty_data_set_is_fatal() -> None:
    with pytest.raises(BadInput, match=r"spec\.problems\.train: an empty data set"):
        check(Ingest(), "train", [], set())


def test_the_same_id_twice_is_fatal() -> None:
    twice = [RawProblem(q, "1", None, "", source_id="same") for q in ("a", "b")]
    with pytest.raises(BadInput, match="stands twice"):
        check(Ingest(), "train", twice, set())


def test_training_problems_that_stand_in_the_test_set_are_left_out() -> None:
    found, seen = Ingest(), set[str]()
    check(found, "test", raw("how many apples does Tom have in all when he buys five"), seen)
    check(found, "train", raw("how many apples does Tom have in all when he sells two", "other words"), seen)
    leave_out_overlap(found, 6)
    assert found.left_out_of_training == found.held_out_in_training == 1
    assert [p.question for p in found.problems if p.split == "train"] == ["other words"]


@given(st.sets(st.text(alphabet="abcdef", min_size=1), min_size=2, max_size=40), st.data())
def test_held_out_problems_leave_training_and_more_data_keeps_most_of_them(
    names: set[str], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(names) - 1))
    found = Ingest()
    check(found, "train", raw(*sorted(names)), set())
    hold_out(found, count)
    splits = [p.split for p in found.problems]
    assert splits.count("validation") == count and splits.count("train") == len(names) - count
    smaller = Ingest()
    check(smaller, "train", raw(*sorted(names)[:-1]), set())
    if count < len(names) - 1:
        hold_out(smaller, count)
        held = [{p.problem_id for p in i.problems if p.split == "validation"} for i in (found, smaller)]
        assert len(held[0] - held[1]) <= 1


def test_holding_out_everything_is_refused() -> None:
    found = Ingest()
    check(found, "train", raw("a", "b"), set())
    with pytest.raises(BadInput, match="holdOut"):
        hold_out(found, 2)


def test_ids_name_content() -> None:
    assert problem_id("What  is ONE?") == problem_id("what is one?") != problem_id("what is two?")
