from __future__ import annotations

from misstep.credit.refuted import refuted, whole_rollouts


def test_a_correct_response_that_passes_through_the_step_refutes_it() -> None:
    assert refuted((1, 2, 3), 2, [(9,), (1, 2, 7)])
    assert refuted([1, 2, 3], 2, [], [(1, 2, 7)])
    assert not refuted((1, 2, 3), 2, [(1, 3, 7), (1,)], [(2, 2, 3)])


def test_a_response_does_not_refute_itself_but_an_equal_rollout_does() -> None:
    assert not refuted((1, 2, 3), 2, [(1, 2, 3), [1, 2, 3]])
    assert refuted((1, 2, 3), 2, [(1, 2, 3)], [(1, 2, 3)])


def test_rollouts_are_put_behind_their_prefixes() -> None:
    credited = [{"problem_id": "p", "prefix_ids": ["a", "b", "c"], "step_ends": [2, 3], "token_ids": [1, 2, 3]}]
    rows = [
        ("p", "b", [7, 8], "correct", "stop"),
        ("p", "a", [7], "correct", "stop"),
        ("p", "a", [6], "wrong", "stop"),
        ("p", "a", [5], "correct", "length"),
        ("q", "a", [4], "correct", "stop"),
    ]
    names = ("problem_id", "prefix_id", "token_ids", "verdict", "finish_reason")
    found = whole_rollouts(credited, (dict(zip(names, row, strict=True)) for row in rows))
    assert {problem: [list(ids) for ids in each] for problem, each in found.items()} == {"p": [[1, 2, 7, 8], [7]]}
