"""Checks on raw problems: nothing is lost without a count, nothing is in two splits."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.problems.ingest import Ingest, check_split, examples, hold_out, leave_out_overlap
from misstep.problems.raw import RawProblem, problem_id


def raw(*questions: str, gold: str = "1") -> list[RawProblem]:
    return [RawProblem(q, gold, f"it is {gold}\n#### {gold}", f"line {i}") for i, q in enumerate(questions, 1)]


def check(into: Ingest, split: str, problems: Iterable[RawProblem], seen: dict[str, int], percent: int = 1) -> None:
    check_split(into, split, problems, str.isdigit, percent, None, seen)


def test_duplicates_are_dropped_and_counted_also_across_splits() -> None:
    found, seen = Ingest(), dict[str, int]()
    check(found, "test", raw("What is one?"), seen)
    check(found, "train", raw("what is  ONE?", "What is two?", "What is two?"), seen)
    assert [(p.split, p.question) for p in found.problems] == [("test", "What is one?"), ("train", "What is two?")]
    assert found.by_split("duplicates") == {"train": 2}
    assert found.by_split("rows") == {"test": 1, "train": 3}


def test_a_duplicate_of_a_problem_that_was_dropped_takes_its_place() -> None:
    found = Ingest()
    check(found, "train", [*raw(*map(str, range(99))), *raw("last", gold=""), *raw("last", gold="2")], {})
    assert found.problems[-1].gold == "2" and found.by_split("bad_gold") == {"train": 1}


def test_further_rows_of_a_problem_bring_their_solutions_or_are_said_to_differ() -> None:
    rows = [
        RawProblem("a", "1", None, "line 1"),
        RawProblem("A", "1", "first", "line 2"),
        RawProblem(" a", "1", "second", "line 3"),
        RawProblem("a", "2", "third", "line 4"),
        RawProblem("a", "proof", "fourth", "line 5"),
        RawProblem("b", "1", None, "line 6"),
    ]
    found = Ingest()
    check(found, "train", rows, {})
    problem = found.problems[0]
    assert (problem.solution, problem.further_solutions) == ("first", ("second",))
    assert found.by_split("duplicates") == {"train": 4} and found.by_split("other_answers") == {"train": 1}


def test_rows_without_a_question_are_counted_and_many_are_fatal() -> None:
    found = Ingest()
    check(found, "train", raw(*map(str, range(100)), " "), {})
    assert found.by_split("no_question") == {"train": 1} and not found.by_split("duplicates")
    with pytest.raises(BadInput, match="2 of 3 rows have no question"):
        check(Ingest(), "train", raw("a", "", " "), {})


def test_remarks_are_counted() -> None:
    found = Ingest()
    check(found, "train", [RawProblem(q, "1", None, "", remarks=("it is odd",)) for q in "ab"], {})
    assert found.counts["train"].remarks == {"it is odd": 2}


@given(st.lists(st.tuples(st.sampled_from("ab c"), st.sampled_from(["1", "2", "", "proof", "?"])), min_size=1))
def test_no_row_is_lost_without_a_count(rows: list[tuple[str, str]]) -> None:
    found = Ingest()
    rows += [("y", "1"), ("z", "1")]
    check(found, "train", [RawProblem(q, gold, None, "") for q, gold in rows], {}, percent=100)
    assert len(found.problems) + found.counts["train"].dropped == len(rows)


def test_one_question_in_all_rows_or_none_of_its_own_is_fatal() -> None:
    with pytest.raises(BadInput, match='all 3 rows have the same question, "math"'):
        check(Ingest(), "train", raw("math", "math", "math"), {})
    found, seen = Ingest(), dict[str, int]()
    check(found, "test", raw("a", "b"), seen)
    with pytest.raises(BadInput, match="all 2 questions are in held-out problems too"):
        check(found, "train", raw("a", "b"), seen)


def test_unreadable_gold_is_dropped_with_a_count_and_named() -> None:
    found = Ingest()
    check(found, "train", raw(*map(str, range(100))) + raw("last", gold="x"), {})
    assert found.by_split("bad_gold") == {"train": 1}
    assert examples(found) == ['train, line 1: "x" (not readable by the verifier)']
    assert len(found.problems) == 100


def test_too_much_unreadable_gold_is_fatal() -> None:
    with pytest.raises(BadInput) as caught:
        check(Ingest(), "train", raw("a", "b", "c") + raw("d", "e", gold="proof"), {})
    said = str(caught.value)
    assert "2 of 5 problems have no final answer to check responses against (2 a proof is asked for)" in said
    assert 'Seen: line 1: "proof"' in said and "badGoldPercent: 40" in said
    assert "verification" not in said, "nothing under verification acts on golds"
    with pytest.raises(BadInput) as caught:
        check(Ingest(), "train", raw("d", "e", gold="proof"), {})
    assert "badGoldPercent" not in str(caught.value), "to drop all of them is no advice"


def test_an_empty_data_set_is_fatal() -> None:
    with pytest.raises(BadInput, match=r"spec\.problems\.train: an empty data set"):
        check(Ingest(), "train", [], {})


def test_the_same_id_twice_is_fatal() -> None:
    twice = [RawProblem(q, "1", None, "", source_id="same") for q in ("a", "b")]
    with pytest.raises(BadInput, match="is repeated"):
        check(Ingest(), "train", twice, {})


def test_training_problems_that_stand_in_the_test_set_are_left_out() -> None:
    found, seen = Ingest(), dict[str, int]()
    check(found, "test", raw("how many apples does Tom have in all when he buys five"), seen)
    check(found, "train", raw("how many apples does Tom have in all when he sells two", "other words"), seen)
    leave_out_overlap(found, 6, "test")
    assert found.left_out_of_training == found.held_out_in_training == 1
    assert [p.question for p in found.problems if p.split == "train"] == ["other words"]


@given(st.sets(st.text(alphabet="abcdef", min_size=1), min_size=2, max_size=40), st.data())
def test_held_out_problems_leave_training_and_more_data_keeps_most_of_them(
    names: set[str], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(names) - 1))
    found = Ingest()
    check(found, "train", raw(*sorted(names)), {})
    hold_out(found, count)
    splits = [p.split for p in found.problems]
    assert splits.count("validation") == count and splits.count("train") == len(names) - count
    smaller = Ingest()
    check(smaller, "train", raw(*sorted(names)[:-1]), {})
    if count < len(names) - 1:
        hold_out(smaller, count)
        held = [{p.problem_id for p in i.problems if p.split == "validation"} for i in (found, smaller)]
        assert len(held[0] - held[1]) <= 1


def test_holding_out_everything_is_refused() -> None:
    found = Ingest()
    check(found, "train", raw("a", "b", "b"), {})
    with pytest.raises(BadInput, match=r"holdOut: 2 of 2 training problems \(of 3 rows; dropped: 1 duplicates\)"):
        hold_out(found, 2)


def test_instructions_that_every_question_repeats_are_found_out() -> None:
    found, seen = Ingest(), dict[str, int]()
    check(found, "test", raw("write the answer on the last line: 1?"), seen)
    check(found, "train", raw("write the answer on the last line: 2?", "write the answer on the last line: 3?"), seen)
    with pytest.raises(BadInput, match=r"all 2 problems share 6 words.*columns\.questionAfter"):
        leave_out_overlap(found, 6, "test")


def test_ids_name_content() -> None:
    assert problem_id("What  is ONE?") == problem_id("what is one?") != problem_id("what is two?")
