r"""Texts that are not answers are distinguished from answers in words; nothing of GSM8K and MATH is refused."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.problems.non_answers import WORDS, why_no_answer
from misstep.verification.gold import gold_answer
from tests.shared_data import shared_data

ANSWERS = """
4 | -3 | 3/4 | 1e5 | 12:30 PM | 3:4 | $12 per hour | 4 dollars and 50 cents | 6 inches by 4 inches | 1. 5
2 hours and 30 minutes | 10 apples and 5 oranges | yes | No | True | unknown quantity | Tuesday | Evelyn Smith
Mr. Smith | Will Smith and Art Grant | \\text{even} | \\text{None} | C | (C) 17 | C. 17 | B and D | A, C | (A) | II
XXX | Na | no solution | There are no real solutions | cannot be determined | DNE | does not exist | undefined
It cannot be determined from the information | infinitely many | never | all real numbers except 2 and 3 | invalid
All real numbers greater than 2. | x=4 or x=5 | (1, 2) | (1)(2) | f(a) = 3, f(b) = 5 | P(a)=1 | a, b | 5 and 7
x<2\\text{ or }x>3 | 2\\text{ if } x>0 | half past three | nine hundred and ninety-nine | an even number
red, green, blue, yellow, orange, purple, black, white | 1.5\\text{ million} | \\{1, 2\\} | \\varnothing
1.5, 2.5 | 1: 2: 3 | 1 : 2 : 3 | 1:30, 2:30 | (1) and (2) | above | \\begin{cases} 1 & n \\text{ is even} \\end{cases}
the product of two primes | square root of 2 | Monday and Friday
"""
NO_ANSWERS = {
    "placeholder": """None | none. | N/A | n/a | NaN | null | notfound | Not Found | not-found | (not available)
        unknown | - | ? | ... | answers may vary | No answer | Answer not found | TBD""",
    "proof": r"""proof | Proof. | \text{proof} | **proof** | To prove | Q.E.D. | Proof by induction | proof omitted
        证明略""",
    "elsewhere": """see solution | See the solution above. | see above | Refer to the solution | See explanation
        as above""",
    "picture": "![](https://cdn.example.org/a.png) | https://example.org/answer | <image>",
    "parts": """(a) 4 (b) 5 | a) 4, b) 5 | 1) 3; 2) 5 | (i) 4; (ii) 5 | Part A: 4, Part B: 5 | (1) $x=3$ (2) $y=4$""",
    "sentence": """He has 3, buys 1 more, so he has 4 marbles in total. | Tom has 4 marbles left | The total is 4
        Therefore, she earned $4. | The answer is that Tom has 4 apples | Tom walked three miles.
        There are 4 marbles in the bag | Janet sells 16 - 3 - 4 = 9 duck eggs a day. | 3+1=4. The answer is: 4
        So 4 marbles are left""",
}


def split(listed: str) -> list[str]:
    return [text.strip() for line in listed.strip().splitlines() for text in line.split(" | ")]


@pytest.mark.parametrize("gold", split(ANSWERS))
def test_answers_in_words_are_answers(gold: str) -> None:
    assert why_no_answer(gold) is None


@pytest.mark.parametrize(
    ("reason", "gold"),
    [("empty", ""), ("empty", "  "), *((why, gold) for why, golds in NO_ANSWERS.items() for gold in split(golds))],
)
def test_texts_that_are_no_answers_have_the_right_reason(reason: str, gold: str) -> None:
    assert why_no_answer(gold) == reason
    assert reason in WORDS


@pytest.mark.parametrize(
    ("name", "column"), [("gsm8k/train", "answer"), ("math/train", "solution"), ("math/test", "solution")]
)
def test_every_answer_of_gsm8k_and_math_is_one(name: str, column: str) -> None:
    folder, _, split = name.partition("/")
    lines = (shared_data(folder) / f"{split}.jsonl").read_text().splitlines()
    golds = [gold_answer(json.loads(line)[column]) for line in lines]
    assert [gold for gold in golds if gold and len(gold) < 500 and why_no_answer(gold)] == []


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.fractions())
def test_numbers_are_answers(number: object) -> None:
    assert why_no_answer(str(number)) is None


@given(st.text(max_size=200))
def test_any_text_is_told(text: str) -> None:
    assert why_no_answer(text) in {None, *WORDS}


@pytest.mark.parametrize(
    "text", ["\\text{" * 20_000, "(a) " * 20_000, "see " * 50_000, "A" + " a" * 100_000, "$" * 99_999]
)
@pytest.mark.no_cover
def test_a_hostile_text_takes_no_time(text: str) -> None:
    began = time.monotonic()
    why_no_answer(text)
    assert time.monotonic() - began < 2
