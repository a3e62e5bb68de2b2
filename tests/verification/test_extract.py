"""Which part of a response is its final answer."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.verification.extract import AnswerFormat, extract_answer
from misstep.verification.gold import gold_answer
from tests.verification.timing import allowed

HASH, BOXED, AUTO = AnswerFormat
plain = st.text(alphabet=st.characters(exclude_characters="#\\<"), max_size=200)
numbers = st.integers(-(10**9), 10**9)


def answer(text: str, answer_format: AnswerFormat) -> str | None:
    return extract_answer(text, answer_format).answer


@given(plain, numbers, st.sampled_from(["#### {}", "####{}", "####  {}", "#### {}\n", "#### {}.", "#### **{}**"]))
def test_the_hash_line(before: str, n: int, line: str) -> None:
    text = f"{before}\n{line.format(n)}"
    assert answer(text, HASH) == str(n)
    assert answer(text, AUTO) == str(n)
    assert gold_answer(text) == str(n)


@given(plain)
def test_without_a_hash_line_there_is_no_hash_answer(text: str) -> None:
    assert answer(text, HASH) is None


@given(plain, st.text(alphabet="0123456789x+-*/^{}() \\fracsqt", min_size=1, max_size=40), plain)
def test_a_balanced_box_comes_back_whole(before: str, content: str, after: str) -> None:
    balanced = content.replace("\\", "").replace("{", "(").replace("}", ")").strip()
    for inner in (balanced, rf"\frac{{{balanced}}}{{2}}", rf"\left\{{ {balanced} \right."):
        found = answer(rf"{before}\boxed{{{inner}}}{after}", BOXED)
        assert found == inner or not any(map(str.isalnum, inner))


@given(plain, plain)
def test_an_unclosed_box_is_never_an_answer(before: str, inside: str) -> None:
    text = rf"{before}\boxed{{7}} so \boxed{{{inside.replace('}', '')}"
    assert answer(text, BOXED) is None
    assert answer(text, AUTO) is None


@given(st.text(max_size=300), st.sampled_from(list(AnswerFormat)))
def test_any_text_is_answered_or_refused(text: str, answer_format: AnswerFormat) -> None:
    found = extract_answer(text, answer_format)
    assert found.answer is None or found.answer.strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She has 18.\n#### 18<|im_end|>", "18"),
        ("#### 18</s>", "18"),
        ("#### 18\n\nQuestion: what next?\n#### 5", "18"),
        ("It is #### 18", "18"),
        ("#### $18.50", "18.50"),
        ("#### 1,250", "1,250"),
        ("#### -5", "-5"),
        ("#### 3/4 cup", "3/4 cup"),
        ("#### Answer: 18", "18"),
        ("#### The answer is 18", "18"),
        ("#### \\boxed{18}", "18"),
        ("#### 18 eggs, 3 of them brown", "18"),
        ("#### Janet makes $18 every day", "18"),
        ("#### x + 1", "x + 1"),
        ("#### Step 1: add\n18", None),
        ("#### 1,", None),
        ("#### 1. Compute the cost", None),
        ("#### $", None),
        ("####", None),
        ("#### \n18", None),
        ("The answer is 18.", None),
        ("", None),
    ],
)
def test_hash_lines(text: str, expected: str | None) -> None:
    assert answer(text, HASH) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{18}.", "18"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {18}", "18"),
        (r"\fbox{18}", "18"),
        (r"$\boxed 2$.", "2"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed{$ $}", None),
        (r"\boxed{18", None),
        (r"\boxed", None),
        (r"\boxed{1} \boxed{", None),
        ("18", None),
    ],
)
def test_boxes(text: str, expected: str | None) -> None:
    assert answer(text, BOXED) == expected


def test_boxes_in_a_row_are_also_a_list() -> None:
    found = extract_answer(r"$x = \boxed{-2}$ and $x = \boxed{1}$.", BOXED)
    assert found.answer == "1"
    assert found.others == ("-2, 1", "-2")


def test_boxes_of_separate_statements_are_not_a_list() -> None:
    assert extract_answer(r"First \boxed{30^\circ}. Then the third angle is \boxed{105^\circ}", BOXED).others == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is **73**.", "73"),
        ("The answer is 73", "73"),
        ("The answer is: 73.", "73"),
        ("**Answer:** 73", "73"),
        ("**Answer: 73**", "73"),
        ("**Final Answer**: $73", "73"),
        ("Final answer = 73", "73"),
        ("The final answer is $\\frac{3}{4}$.", "\\frac{3}{4}"),
        ("The answer is $x = 5$.", "5"),
        ("The answer is 5 + 3 = 8.", "8"),
        ("The answer is:\n\n73", "73"),
        ("The answer is 73 because 60 + 13 = 73.", "73"),
        ("The answer is \\(12\\).", "12"),
        ("So she earns **$18** per day.", "18"),
        ("She earns 9 * 2 = 18", "18"),
        ("She earns $18 every day.", "18"),
        ("She has 1,250 eggs.", "1,250"),
        ("That makes 50%.", "50%"),
        ("18", "18"),
        ("#### 1. Compute\n5 + 3 = 8\n#### 2. Conclude\nThe answer is 8.", "8"),
        ("#### Step 1\n3\n#### Final Answer\n\\boxed{8}", "8"),
        ("The answer is", None),
        ("The answer is $", None),
        ("The answer is **", None),
        ("She makes 9 * 2 =", None),
        ("She sells 9 eggs for $2, so she", None),
        ("I do not know.", None),
        ("", None),
        ("   \n\n ", None),
    ],
)
def test_free_text(text: str, expected: str | None) -> None:
    assert answer(text, AUTO) == expected


@pytest.mark.parametrize("answer_format", list(AnswerFormat))
@pytest.mark.parametrize(
    "unit",
    ["####", "#### \n", r"\boxed{", r"\boxed{1} and ", "{", "\\", "1,", "**1** ", "answer is ", "= 1 ", "$", "\n"],
)
@pytest.mark.no_cover
def test_extraction_is_linear(answer_format: AnswerFormat, unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.perf_counter()
    extract_answer(text, answer_format)
    assert time.perf_counter() - start < allowed(1.0)


def test_a_bare_gold_is_its_own_answer() -> None:
    assert gold_answer(" 3/4 ") == "3/4"
    assert gold_answer(r"so \boxed{3}") == "3"
    assert gold_answer(r"so \boxed{}") == ""
