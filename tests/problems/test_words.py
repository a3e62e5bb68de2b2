"""Word problems: a teacher that is right, splits that share neither story nor numbers, and correct English."""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.problems.drawing import GeneratedProblem, generator
from misstep.problems.words.generator import SPLITS, STORIES, Split, WordsTask, generate, split_of
from misstep.problems.words.story import EITHER, Story
from misstep.problems.words.teacher import MOST, Step, results, solution

FIRST = (
    (
        "A ferry leaves with 45 people on it. At the first stop 22 people get off. At the next stop "
        "3 people get on. How many people are on the ferry now?",
        "45 - 22 = 23 people\n23 + 3 = 26 people\n#### 26",
    ),
    (
        "There are 44 birds in the old tree. A dog barks, and nine of them fly away. Then four "
        "other birds land in the tree. How many birds are in the tree now?",
        "44 - 9 = 35 birds\n35 + 4 = 39 birds\n#### 39",
    ),
    (
        "2 campers sleep in each of the 6 tents of a camp. It is 16 degrees outside. The campers "
        "have 4 guides. Guides and campers fill boats of two seats, with no seat empty. How many "
        "boats are there?",
        "6 * 2 + 4 = 16 people\n16 / 2 = 8 boats\n#### 8",
    ),
)
NUMBER_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

seeds = st.integers(0, 2**31 - 1)
splits = st.sampled_from(SPLITS)


@st.composite
def problems(draw: st.DrawFn) -> GeneratedProblem:
    return next(generate(draw(splits), 1, draw(seeds)))


def lines(problem: GeneratedProblem) -> list[tuple[str, str, int]]:
    """Return the unit, the arithmetic and the result of each line but the last."""
    matched = [re.fullmatch(r"([\d +*/()-]+) = (\d+) ([a-z ]+)", line) for line in problem.solution.split("\n")[:-1]]
    return [(found[3], found[1], int(found[2])) for found in matched if found is not None]


def value(arithmetic: str) -> int:
    """Compute an expression of whole numbers, by Python's own parser; a division must leave no remainder."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            return node.value
        assert isinstance(node, ast.BinOp)
        left, right = walk(node.left), walk(node.right)
        if isinstance(node.op, ast.Div):
            assert left % right == 0
            return left // right
        ways: dict[type[ast.operator], Callable[[int, int], int]] = {
            ast.Add: operator.add,
            ast.Sub: operator.sub,
            ast.Mult: operator.mul,
        }
        return ways[type(node.op)](left, right)

    return walk(ast.parse(arithmetic, mode="eval").body)


def in_question(problem: GeneratedProblem) -> set[int]:
    """Return the numbers that a question names, in digits or in words."""
    words = re.findall(r"[a-z]+|\d+", problem.question.lower())
    named = {word: number for number, word in enumerate(NUMBER_WORDS, 2)} | {"half": 2}
    return {int(word) if word.isdigit() else named[word] for word in words if word.isdigit() or word in named}


@given(problems())
@settings(max_examples=300, deadline=None)
def test_the_teacher_is_always_right(problem: GeneratedProblem) -> None:
    """Each line is computed from its text, and uses what the question or an earlier line says, or one step that was
    done in the head."""
    written = lines(problem)
    assert len(written) == problem.solution.count("\n") >= 1
    known, unknown = in_question(problem), []
    for _, arithmetic, result in written:
        assert value(arithmetic) == result <= MOST
        unknown += [number for number in map(int, re.findall(r"\d+", arithmetic)) if number not in known]
        known.add(result)
    assert len(unknown) <= 1
    assert problem.solution.split("\n")[-1] == f"#### {written[-1][2]}" == f"#### {problem.gold}"


def test_the_teacher_writes_joins_and_leaves_out_steps() -> None:
    operations = Counter[int]()
    whole = shorter = 0
    for problem in generate("train", 600, 5):
        used = [len(re.findall(r"[+*/-]", arithmetic)) for _, arithmetic, _ in lines(problem)]
        operations.update(used)
        whole += set(used) == {1}
        shorter += 2 in used
    assert set(operations) == {1, 2}
    assert 100 < shorter < 400 and whole > 150
    story = Story(tell=(), ask="", numbers={}, steps=("x = a * b : first", "y = x + c : second"))
    steps = [Step.read(text) for text in story.steps]
    known = results(steps, {"a": 3, "b": 4, "c": 5})
    assert known is not None
    ways = {solution(steps, known, {}, generator("test", n)) for n in range(60)}
    assert ways == {
        "3 * 4 = 12 first\n12 + 5 = 17 second\n#### 17",
        "3 * 4 + 5 = 17 second\n#### 17",
        "12 + 5 = 17 second\n#### 17",
    }


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (("x = a - b : x", "y = c - x : y"), "20 - (9 - 3) = 14"),
        (("x = a - b : x", "y = x - c : y"), None),
        (("x = a + b : x", "y = x * c : y"), None),
        (("x = a * b : x", "y = x + c : y"), "9 * 3 + 20 = 47"),
        (("x = a + b : x", "y = x / 2 : y"), "(9 + 3) / 2 = 6"),
        (("x = a * b : x", "y = x / 3 : y"), "(9 * 3) / 3 = 9"),
        (("x = a / b : x", "y = b * x : y"), "3 * (9 / 3) = 9"),
    ],
)
def test_brackets_stand_where_they_are_needed(texts: Sequence[str], joined: str | None) -> None:
    steps = [Step.read(text) for text in texts]
    known = results(steps, {"a": 9, "b": 3, "c": 20})
    if joined is None:
        assert known is None
        return
    assert known is not None
    assert any(f"{joined} y\n" in solution(steps, known, {}, generator("test", n)) for n in range(40))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("x = a - b : x", {"a": 5, "b": 4}), ("x = a / b : x", {"a": 5, "b": 2}), ("x = a * b : x", {"a": 8, "b": 7})],
)
def test_one_thing_fractions_and_large_numbers_are_left_out(text: str, numbers: dict[str, int]) -> None:
    assert results([Step.read(text)], numbers) is None


def test_no_two_splits_share_a_story() -> None:
    told = {
        split: {sentence for story in stories for sentence in wordings(story)} for split, stories in STORIES.items()
    }
    assert sum(map(len, told.values())) == len(set().union(*told.values()))
    assert {split: len(stories) for split, stories in STORIES.items()} == {"train": 28, "validation": 8, "test": 12}
    for stories in STORIES.values():
        assert {len(story.steps) for story in stories} == {2, 3, 4}


def wordings(story: Story) -> list[str]:
    return [wording for sentence in story.tell for wording in sentence.removeprefix("~").split(EITHER)]


@given(st.lists(st.tuples(splits, seeds), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_no_split_ever_holds_numbers_of_another(wanted: list[tuple[Split, int]]) -> None:
    where: dict[str, set[tuple[int, ...]]] = {split: set() for split in SPLITS}
    for split, seed in wanted:
        found = [draw.numbers for draw, _ in islice(WordsTask().draws(split, seed), 150)]
        assert {split_of(numbers) for numbers in found} == {split}
        where[split] |= {tuple(sorted(numbers)) for numbers in found}
    assert sum(map(len, where.values())) == len(set().union(*where.values()))


@given(seeds, st.integers(1, 50), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_fewer_problems_are_a_prefix_of_more(seed: int, count: int, more: int) -> None:
    assert list(generate("train", count, seed)) == list(generate("train", count + more, seed))[:count]


def test_no_problem_comes_twice() -> None:
    draws = WordsTask().draws("test", 0)
    assert len({draw for draw, _ in islice(draws, 5000)}) < 5000
    questions = [problem.question for problem in generate("test", 3000, 0)]
    assert len(set(questions)) == 3000
    assert {p.question for p in generate("train", 50, 0)} != {p.question for p in generate("train", 50, 1)}


def test_a_used_up_split_is_bad_input() -> None:
    narrow = Story(
        tell=("{A} has {n} pens and {m} caps.",),
        ask="How many?",
        numbers={"n": (2, 9), "m": (2, 9)},
        steps=("x = n + m : x",),
    )
    task = WordsTask(dict.fromkeys(SPLITS, (narrow,)))
    with pytest.raises(BadInput, match=r"validation split holds about \d+ problems"):
        list(task.generate("validation", 60, 0))


def test_every_story_is_told_in_several_ways() -> None:
    """All stories come up, with distractors in some problems and number words in others."""
    for split, stories in STORIES.items():
        drawn = Counter(draw.number for draw, _ in islice(WordsTask().draws(split, 1), 80 * len(stories)))
        assert len(drawn) == len(stories) and min(drawn.values()) > 25
    made = list(generate("train", 400, 2))
    noisy = sum(len(re.findall(r"\d+", p.question)) > 0 and "cousins" in p.question for p in made)
    assert noisy > 2
    assert sum(bool(set(NUMBER_WORDS) & set(p.question.split())) for p in made) > 40


def test_the_english_is_right() -> None:
    for split in SPLITS:
        for problem in generate(split, 1500, 11):
            text = problem.question
            assert not re.search(r"[{}~|]|  |\b[01]\b|\bone (?!minibus)[a-z]+s\b", text), text
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n (?!hour)[^aeiou]", text), text
            assert re.fullmatch(r"(?:[A-Z0-9][^.?!]*[.!] )+[A-Z][^.?!]*\?", text), text
            sentences = re.split(r"(?<=[.?!]) ", text)
            assert all(one != two for one, two in pairwise(sentences))
            assert {"he", "his", "him", "He", "His"}.isdisjoint(re.findall(r"\w+", text)) or {
                "she",
                "her",
                "She",
            }.isdisjoint(re.findall(r"\w+", text))


@pytest.mark.parametrize("number", range(3))
def test_the_problems_have_not_changed(number: int) -> None:
    """Finished work in a store was made from these, in any version of Python."""
    split = SPLITS[number]
    first = next(generate(split, 1, 0))
    assert (first.question, first.solution) == FIRST[number]
