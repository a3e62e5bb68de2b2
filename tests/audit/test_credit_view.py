from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from misstep.audit.credit_view import MOST_SHOWN, Continuation, KnownResponse, placed, solution, value
from misstep.credit.evidence import Evidence, Known


def row(**changes: Any) -> dict[str, Any]:
    """A wrong solution of three steps, of two tokens each."""
    return {
        "problem_id": "p",
        "sample": 4,
        "token_ids": [1, 2, 3, 4, 5, 6],
        "step_ends": [2, 4, 6],
        "step_texts": ["ab", "cd", "ef"],
        "prefix_ids": ["n0", "n1", "n2", "n3"],
        "q": [0.8, None, None, 0.0],
        "alive": [1.0, 0.9, 0.1, 0.0],
        "certainty": 0.85,
        "solved": [1, 2, 0],
        "failed": [3, 0, 4],
        "pit": 2,
        "reason": None,
        "true_pit": 3,
    } | changes


def continued(text: str, verdict: str = "wrong", cut_off: bool = False, sample: bool = False) -> Continuation:
    return Continuation(text, verdict, cut_off, begun=0, sample=sample)


def known(ids: tuple[int, ...], verdict: str = "wrong", prefix: str | None = None, number: int = -1) -> KnownResponse:
    text = "".join(chr(96 + i) for i in ids)
    return KnownResponse(continued(text, verdict, sample=prefix is None), prefix, ids, number)


def test_a_value_is_q_or_else_the_probability_that_it_is_above_zero() -> None:
    assert value(0.0, 1.0).kind == "q"
    assert (value(None, 0.3).number, value(None, 0.3).kind) == (0.3, "alive")
    assert value(None, None).number is None


def test_a_solution_shows_what_its_pit_rests_on() -> None:
    drawn = [known((1, 2, 9), "wrong"), known((1, 2, 3, 9), "correct"), known((1, 2, 3, 4, 8)), known((7,), "correct")]
    view = solution(row(), ("why?", "42"), drawn, by_path=True, correct=False)
    assert [(step.pit, step.true) for step in view.steps] == [(False, False), (True, False), (False, True)]
    assert [step.value.kind for step in view.steps] == ["alive", "alive", "q"]
    assert [step.counts for step in view.steps] == [(2, 0), (0, 4), None]
    assert view.start_counts == (1, 3)
    assert view.before is not None and view.at is not None
    assert (view.before.steps, view.at.steps) == (1, 2)
    assert [one.text for one in view.before.shown] == ["ci", "i"]  # what succeeded stands first
    assert (view.before.solved, view.before.failed, view.before.known) == (2, 0, 2)
    assert [one.text for one in view.at.shown] == ["h"]


def test_the_last_step_has_no_rollouts_and_no_pit_shows_the_bare_problem() -> None:
    assert solution(row(pit=3), ("", ""), [], True, False).at is None
    without = solution(row(pit=None, reason="never-solved"), ("", ""), [known((9,), number=1)], True, False)
    assert without.before is not None
    assert (without.before.steps, len(without.before.shown), without.at) == (0, 1, None)


def test_searches_in_a_fixed_order_count_only_rollouts_of_the_prefix_itself() -> None:
    drawn = [
        known((1, 2, 3), prefix="n0"),
        known((9,), prefix="n1"),
        known((9,), prefix="other"),
        known((5,), number=1),
    ]
    found = placed(row(), drawn, by_path=False)
    assert {place: len(there) for place, there in found.items()} == {0: 2, 1: 1}


def test_a_solution_is_no_continuation_of_itself() -> None:
    itself = known((1, 2, 3, 4, 5, 6), "correct", number=4)
    assert placed(row(), [itself], by_path=True) == {}
    assert placed(row(), [itself], by_path=False) == {}


def test_only_so_many_continuations_are_shown() -> None:
    place = solution(row(), ("", ""), [known((1, 2, 9))] * (MOST_SHOWN + 3), True, False).before
    assert place is not None
    assert (len(place.shown), place.known) == (MOST_SHOWN, MOST_SHOWN + 3)


def test_a_response_that_was_cut_off_is_no_success() -> None:
    assert continued("", "correct").solved
    assert not continued("", "correct", cut_off=True).solved


IDS = st.lists(st.integers(1, 3), min_size=1, max_size=8).map(tuple)


@given(IDS, st.lists(st.tuples(IDS, st.booleans()), max_size=8), st.data())
def test_places_are_those_of_the_search(
    ids: tuple[int, ...], others: list[tuple[tuple[int, ...], bool]], data: st.DataObject
) -> None:
    inner = sorted(data.draw(st.sets(st.integers(1, len(ids)), max_size=4)) | {len(ids)})
    texts = ["".join(chr(96 + i) for i in ids[a:b]) for a, b in zip([0, *inner], inner, strict=False)]
    evidence = Evidence(ids, tuple(inner))
    evidence.add([Known(other, solved) for other, solved in others])
    one = row(
        token_ids=list(ids), step_ends=inner, step_texts=texts, prefix_ids=[str(n) for n in range(len(inner) + 1)]
    )
    drawn = [known(other, "correct" if solved else "wrong", number=9) for other, solved in others]
    found = placed(one, drawn, by_path=True)
    for place in range(len(inner)):
        there = found.get(place, [])
        solved = sum(continuation.solved for continuation in there)
        assert (solved, len(there) - solved) == (evidence.solved[place], evidence.failed[place])
