"""The strides task: splits that cannot overlap, a teacher that is right, an oracle that finds flaws."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.problems.drawing import GeneratedProblem
from misstep.problems.oracles import ORACLES
from misstep.problems.strides import (
    ATOMS,
    NEXT_STATE,
    OPERATIONS,
    SPLITS,
    STATES,
    Split,
    StridesTask,
    Walk,
    draw_strides,
    first_error,
    generate,
    oracle,
    parse,
    split_of,
)
from misstep.terms.layouts import TASKS_WITH_ORACLE

FIRST = ("start 32: 1a 2a 3a 4b 5e 6a ?", "1a 2a 30\n3a 4b 5e 10\n6a 33\n#### 33", "33")
FROM_TEN = [33, 37, 27, 25, 38, 31]

seeds = st.integers(0, 2**31 - 1)
splits = st.sampled_from(SPLITS)


@st.composite
def problems(draw: st.DrawFn) -> GeneratedProblem:
    return next(generate(draw(splits), 1, draw(seeds)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(splits, st.integers(1, 400), seeds), min_size=2, max_size=6))
def test_no_split_ever_holds_a_problem_of_another(wanted: list[tuple[Split, int, int]]) -> None:
    where: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, count, seed in wanted:
        questions = [p.question for p in generate(split, count, seed)]
        assert len(set(questions)) == len(questions) == count
        where[split] |= set(questions)
    assert sum(map(len, where.values())) == len(set().union(*where.values()))


def test_pre_training_draws_come_from_its_split_alone() -> None:
    draws = StridesTask(lengths=(1, 6)).draws("pretrain", 0)
    questions = [next(draws)[0].question for _ in range(2000)]
    assert {split_of(question) for question in questions} == {"pretrain"}
    assert set(Counter(q.count(" ") - 2 for q in questions)) == set(range(1, 7))


@given(seeds, st.integers(1, 50), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_fewer_problems_are_a_prefix_of_more(seed: int, count: int, more: int) -> None:
    assert list(generate("train", count, seed)) == list(generate("train", count + more, seed))[:count]


def test_seeds_give_different_problems() -> None:
    assert {p.question for p in generate("train", 50, 0)} != {p.question for p in generate("train", 50, 1)}


def test_the_task_has_not_changed() -> None:
    """The committed base model knows these operations, and its pre-training these splits."""
    first = next(generate("test", 1, 0))
    assert (first.question, first.solution, first.gold) == FIRST
    assert [table[10] for table in NEXT_STATE] == FROM_TEN


def test_shares_and_weights() -> None:
    draws = StridesTask().draws("train", 3)
    walks = [next(draws)[0] for _ in range(3000)]
    lengths = Counter(len(w.operations) for w in walks)
    assert set(lengths) == {4, 5, 6} and min(lengths.values()) > 900
    operations = Counter(op for w in walks for op in w.operations)
    zipf = [1 / rank**1.3 for rank in range(1, 7)]
    for op, weight in enumerate(zipf):
        assert operations[op] / operations.total() == pytest.approx(weight / sum(zipf), abs=0.02)
    rng = random.Random(0)
    first = Counter(draw_strides(rng, (0.3, 0.3, 0.4), 6)[0] for _ in range(3000))
    assert [first[n] / 3000 for n in (1, 2, 3)] == pytest.approx([0.3, 0.3, 0.4], abs=0.04)


def test_a_used_up_split_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"validation split holds about \d\d problems"):
        list(StridesTask(lengths=(1, 1)).generate("validation", 100, 0))


@given(problems())
def test_the_teacher_is_always_right(problem: GeneratedProblem) -> None:
    """Recomputed from the text, by other means than the generator's."""
    matched = re.fullmatch(r"start (\d\d): (.*) \?", problem.question)
    assert matched is not None
    start, listed = matched.groups()
    walked = [line.split() for line in problem.solution.split("\n")[:-1]]
    assert [taken for *line, _ in walked for taken in line] == listed.split()
    assert {len(line) - 1 for line in walked} <= {1, 2, 3}
    state = int(start)
    for *line, reached in walked:
        for taken in line:
            state = NEXT_STATE[OPERATIONS.index(taken[1])][state]
        assert int(reached) == state
    assert problem.solution.split("\n")[-1] == f"#### {state}" == f"#### {problem.gold}"
    assert oracle(problem.question, problem.solution) is None


def test_operations_are_permutations() -> None:
    assert len(NEXT_STATE) == len(OPERATIONS)
    for table in NEXT_STATE:
        assert sorted(table) == sorted(table.values()) == list(STATES)


@given(problems(), st.data())
def test_the_oracle_finds_the_first_wrong_line(problem: GeneratedProblem, data: st.DataObject) -> None:
    lines = problem.solution.split("\n")
    spoiled = data.draw(st.integers(0, len(lines) - 1))
    old = int(lines[spoiled][-2:])
    wrong = data.draw(st.sampled_from([s for s in STATES if s != old]))
    lines[spoiled] = lines[spoiled][:-2] + str(wrong)
    later = data.draw(st.integers(spoiled, len(lines) - 1))
    assert oracle(problem.question, "\n".join(lines)) == spoiled
    # What comes after the first wrong line does not matter.
    assert oracle(problem.question, "\n".join([*lines[: later + 1], "nonsense"])) == spoiled


@pytest.mark.parametrize(
    ("response", "wrong"),
    [
        ("1a 2b {s2}\n3c {s3}\n4a {s4}\n#### {s4}", None),
        ("1a 2b 3c 4a {s4}\n#### {s4}", None),
        ("", 0),
        ("1a 2b {s2}\n", 1),
        ("1a 2b {s2}\n3c {s3}\n4a {s4}", 3),
        ("1a 2b {s2}\n#### {s2}", 1),
        ("1a 3c {s2}\n", 0),
        ("1a 2c {s2}\n", 0),
        ("1a 2b {s2}\n2b {s3}\n", 1),
        ("1a 2b 3c 4a 5a {s4}\n", 0),
        ("1a 2b 3c 4a {s4}\n5a {s4}\n", 1),
        ("{s0}\n", 0),
        ("1a 2b {s2} \n", 0),
        ("1a 2b 3c 4a {s4}\n#### {s4}\n#### {s4}", 2),
    ],
)
def test_the_oracle_on_a_known_problem(response: str, wrong: int | None) -> None:
    question = "start 20: 1a 2b 3c 4a ?"
    states = {f"s{n}": state for n, state in enumerate(parse(question).states)}
    assert oracle(question, response.format(**states)) == wrong


def right_solutions(walk: Walk) -> list[str]:
    """Write every right solution of a problem, one for each way of cutting it into strides."""
    length = len(walk.operations)
    ways = (
        [b - a for a, b in pairwise([0, *cuts, length])]
        for count in range(length)
        for cuts in combinations(range(1, length), count)
    )
    return [walk.solution(strides) for strides in ways]


@given(problems(), st.data())
def test_the_first_error_is_where_no_right_solution_continues(problem: GeneratedProblem, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(problem.solution)))
    changed = data.draw(st.text("1234567890abcdef# \n", max_size=4))
    response = problem.solution[:at] + changed + problem.solution[at + data.draw(st.integers(0, 4)) :]
    right = right_solutions(parse(problem.question))
    error, line = first_error(problem.question, response), oracle(problem.question, response)
    if error is None:
        assert response in right and line is None
        return
    before = response[:error]
    answered = [solution for solution in right if before.removesuffix("\n") == solution]
    assert answered or any(solution.startswith(before) for solution in right)
    assert not any(solution.startswith(response[: error + 1]) for solution in right if error < len(response))
    assert line is not None
    # A last right line without its newline: the oracle names the line that is not there.
    unfinished = error == len(response) and any(s.startswith(f"{response}\n") for s in right)
    assert line == before.count("\n") + unfinished


@pytest.mark.parametrize(
    "question",
    [
        "",
        "start 9: 1a ?",
        "start 40: 1a 2b ?",
        "start 20: 2a 1b ?",
        "start 20: 1g ?",
        "start 20: 1a ?\n",
        "start 20: ?",
    ],
)
def test_other_questions_are_bad_input(question: str) -> None:
    with pytest.raises(BadInput, match="question"):
        oracle(question, "1a 11\n#### 11")


@given(problems())
def test_text_is_made_of_atoms_in_one_way(problem: GeneratedProblem) -> None:
    text = f"{problem.question}\n{problem.solution}"
    pieces = re.findall("|".join(map(re.escape, sorted(ATOMS, key=len, reverse=True))), text)
    assert "".join(pieces) == text
    # No state follows another number, no position another position: a number has one meaning where it stands.
    assert not any(a.isdigit() and b.isdigit() for a, b in pairwise(pieces))


def test_every_oracle_has_its_name_among_the_terms() -> None:
    assert tuple(ORACLES) == TASKS_WITH_ORACLE
