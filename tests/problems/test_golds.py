r"""The final answer in a cell: after a mark, in a box, on a ``####`` line, in a list written as text, or the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.problems.golds import Gold, between, gold_in, mark_in


@pytest.mark.parametrize(
    ("text", "after", "before", "gold"),
    [
        ("4", None, None, "4"),
        ("3+1=4. The answer is: 4", "The answer is:", None, "4"),
        ("3+1=4\n#### 4\nThe answer is: 4", "The answer is:", None, "4"),
        ("The answer is: 3? No.\nTHE  ANSWER is: 4\nBye", "The answer is:", None, "4"),
        (r"so The answer is: $\frac{1}{2}$", "The answer is:", None, r"$\frac{1}{2}$"),
        (r"The answer is: $\boxed{4}$.", "The answer is:", None, "4"),
        ("Final Answer:\n\n4\nBye", "final answer:", None, "4"),
        ("**Answer:** 4", "Answer:", None, "4"),
        ("The final answer is\n\\[\n4\n\\]", "The final answer is", None, "4"),
        ("<think>5</think><answer>4</answer>", "<answer>", "</answer>", "4"),
        ("<answer>\n4\n</answer>", "<answer>", "</answer>", "4"),
        ("The final answer is $4$. I hope it is correct.", "The final answer is", "I hope", "$4$."),
        ("She has 4.\n#### 4", None, None, "4"),
        (r"so $\boxed{4}$", None, None, "4"),
        ('["4"]', None, None, "4"),
        ("['4']", None, None, "4"),
        ("[4]", None, None, "[4]"),
        ('["4", "5"]', None, None, '["4", "5"]'),
        ("Answer: 7", None, None, "7"),
        ("The final answer is 7", None, None, "7"),
    ],
)
def test_the_gold_in_a_text(text: str, after: str | None, before: str | None, gold: str) -> None:
    assert gold_in(text, after, before) == Gold(gold)


@pytest.mark.parametrize(
    ("text", "after", "before", "reason"),
    [
        ("", None, None, "empty"),
        ("She has 4.", "The answer is:", None, "marker"),
        ("<answer>4", "<answer>", "</answer>", "marker"),
        ("The answer is:", "The answer is:", None, "empty"),
        (r"so \boxed{}", None, None, "empty"),
    ],
)
def test_a_text_without_one_says_why(text: str, after: str | None, before: str | None, reason: str) -> None:
    assert gold_in(text, after, before) == Gold("", reason)


@given(st.text("ab: \n", max_size=30), st.integers())
def test_whatever_stands_before_the_mark_the_answer_is_found(text: str, answer: int) -> None:
    assert gold_in(f"{text}\nThe answer is: {answer}", "the answer is:").text == str(answer)


def test_a_question_between_its_instructions() -> None:
    text = "Solve it. $Answer is the answer to the problem.\n\nHow many?\n\nRemember to answer."
    assert between(text, "the answer to the problem.", "Remember to") == "How many?"
    assert between(text, None, None) == text
    assert between("How many?", "the problem.", None) is None
    assert between("How many?", None, "Remember") is None


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("3+1=4. The answer is: 4", "The answer is:"),
        ("the answer is 4", "The answer is"),
        ("<answer>4</answer>", "<answer>"),
        ("Final answer: 4", "Final answer:"),
        ("He has 4 marbles.", None),
    ],
)
def test_known_marks(text: str, mark: str | None) -> None:
    assert mark_in(text) == mark


@pytest.mark.no_cover
def test_a_hostile_text_takes_no_time() -> None:
    began = time.monotonic()
    gold_in("The " * 200_000 + " " * 200_000, "The answer is:")
    gold_in("[" * 100_000 + '"', None)
    gold_in('["' + "[" * 100_000, None)
    assert time.monotonic() - began < 5
