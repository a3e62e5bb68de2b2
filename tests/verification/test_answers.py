"""Pairs of answers with the required verdicts, including every known failure of other verifiers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.terms.verdict import Verdict
from misstep.verification.equivalence import decide, read_answer
from misstep.verification.verifier import Verifier

NOT_CORRECT = (Verdict.WRONG, Verdict.UNPARSABLE)
UNDECIDED = (Verdict.UNPARSABLE,)
CORRECT = (Verdict.CORRECT,)
WRONG = (Verdict.WRONG,)


def judge(verifier: Verifier, pred: str, gold: str) -> Verdict:
    return verifier.judge_one(rf"Therefore the answer is \boxed{{{pred}}}.", gold).verdict


# math-verify's issue 14: answers that it took for equal
def test_tiny_factorials_differ(boxed: Verifier) -> None:
    assert judge(boxed, r"\frac{1}{2006!}", r"\frac{1}{2004!}") is Verdict.WRONG


def test_tiny_powers_differ(boxed: Verifier) -> None:
    assert judge(boxed, "2^{-98}", "2^{-99}") is Verdict.WRONG


def test_tiny_irrationals_differ(boxed: Verifier) -> None:
    assert judge(boxed, r"\frac{\pi}{10^{40}}", r"\frac{\sqrt{2}}{10^{40}}") in NOT_CORRECT


def test_huge_numbers_that_differ_by_one(boxed: Verifier) -> None:
    assert judge(boxed, "2^{100000}+1", "2^{100000}") is Verdict.WRONG


def test_lists_of_one_variable_differ(boxed: Verifier) -> None:
    assert judge(boxed, "n=1,2,3", "n=2,3,4") is Verdict.WRONG


def test_lists_of_different_length_differ(boxed: Verifier) -> None:
    assert judge(boxed, "19,46", r"19,46,\text{ and }82") is Verdict.WRONG
    assert judge(boxed, r"19, 46, \text{ and } 83", r"19,46,\text{ and }82") is Verdict.WRONG
    assert judge(boxed, "19", "19,46") is Verdict.WRONG


def test_times_differ(boxed: Verifier) -> None:
    assert judge(boxed, "1:00", "12:00") is Verdict.WRONG


def test_plus_minus_is_two_numbers(boxed: Verifier) -> None:
    assert judge(boxed, "2021", r"\pm 2021") is Verdict.WRONG
    assert judge(boxed, r"\pm 2021", "2021") is Verdict.WRONG
    assert judge(boxed, "-2021, 2021", r"\pm 2021") is Verdict.CORRECT


def test_lists_with_an_ellipsis_are_equal_only_when_spelt_alike(boxed: Verifier) -> None:
    assert judge(boxed, r"1,3,\ldots,10", r"1,2,\ldots,10") is Verdict.UNPARSABLE
    assert judge(boxed, r"1, 2, \dots, 10", r"1,2,\dots,10") is Verdict.CORRECT


# math-verify's issue 60
def test_two_different_equations_differ(boxed: Verifier) -> None:
    assert judge(boxed, "y=3x+1", "y=2x+3") is Verdict.WRONG
    assert judge(boxed, "3x+y=1", "2x+3y=6") is Verdict.WRONG


# math-verify's issue 64
def test_a_root_of_a_quotient_is_not_wrong(boxed: Verifier) -> None:
    assert judge(boxed, r"1/\sqrt{n}", r"\sqrt{1/n}") is not Verdict.WRONG


def test_a_quantifier_is_not_dropped(boxed: Verifier) -> None:
    assert judge(boxed, r"\forall x>0 f(x)=0", "f(x)=0") is Verdict.UNPARSABLE


# math-verify's issues 76, 37, 41 and 2
def test_a_bold_answer(auto: Verifier) -> None:
    response = "There were 25 of one and 48 of the other.\n\nThe answer is **73**."
    assert auto.judge_one(response, "73").verdict is Verdict.CORRECT
    assert auto.judge_one(response, "48").verdict is not Verdict.CORRECT


def test_a_number_marked_as_text(boxed: Verifier) -> None:
    assert judge(boxed, r"\text{13}", "13") is Verdict.CORRECT


def test_a_root_with_parentheses(boxed: Verifier) -> None:
    assert judge(boxed, r"\sqrt(2)", r"\sqrt{2}") is Verdict.CORRECT
    assert judge(boxed, r"2\sqrt(1/4)", "1") is Verdict.CORRECT


# math-verify 0.9.0 reads \frac\pi 4 as the fraction of a backslash and a p, and then only the rest of the sum
def test_fractions_without_braces(boxed: Verifier) -> None:
    assert judge(boxed, r"\frac \pi3 + 2 - \sqrt2", r"\frac \pi4 + 2 - \sqrt2") is Verdict.WRONG
    assert judge(boxed, r"\frac{\pi}{4}", r"\frac\pi4") is Verdict.CORRECT
    assert judge(boxed, r"\frac{\sqrt3}3", r"\frac{1}{\sqrt3}") is Verdict.CORRECT


# math-verify falls back to the last number in what it cannot parse
@pytest.mark.parametrize("junk", [r"x \foo {}", "x ? {}", "5 @ {}", r"\begin{{pmatrix}} 1 \\ q? & {} \end{{pmatrix}}"])
def test_what_cannot_be_parsed_is_not_its_last_number(boxed: Verifier, junk: str) -> None:
    assert judge(boxed, junk.format(18), "18") is Verdict.UNPARSABLE
    assert judge(boxed, "18", junk.format(18)) is Verdict.UNPARSABLE
    assert judge(boxed, junk.format(18), junk.format(18)) is Verdict.CORRECT


# the label that Qwen's grader has wrong
def test_a_braced_thousands_separator(boxed: Verifier) -> None:
    assert judge(boxed, "10{,}000", "10000") is Verdict.CORRECT
    assert judge(boxed, "10000", "10{,}000") is Verdict.CORRECT


# 0.8 and 0.9 of math-verify disagree about percent signs
def test_percent_signs(boxed: Verifier) -> None:
    assert judge(boxed, r"50\%", "50") is Verdict.CORRECT
    assert judge(boxed, "50", r"50\%") is Verdict.CORRECT
    assert judge(boxed, "0.5", r"50\%") is Verdict.CORRECT
    assert judge(boxed, "50", "0.5") is Verdict.WRONG


@pytest.mark.parametrize(
    ("pred", "gold", "verdicts"),
    [
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", CORRECT),
        (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{2}}{2}", WRONG),
        ("(x+1)^2", "x^2+2x+1", CORRECT),
        ("(x+2)^2", "x^2+2x+1", WRONG),
        (r"1-\cos^2 x", r"\sin^2 x", CORRECT),
        ("0.5x", r"\frac{x}{2}", CORRECT),
        ("-3i+2", "2-3i", CORRECT),
        ("2+3i", "2-3i", WRONG),
        ("-q + p", "p - q", CORRECT),
        ("3 t", "3", WRONG),
        ("3!", "6", CORRECT),
        (r"\binom{10}{3}", "120", CORRECT),
        ("9.42", r"3\pi", UNDECIDED),
        ("9.424778", r"3\pi", CORRECT),
        ("9.43", r"3\pi", WRONG),
        ("2.718", "e", UNDECIDED),
        (r"\frac{\pi}{6}", r"30^\circ", CORRECT),
        (r"\frac{\pi}{3}", r"30^\circ", WRONG),
        ("x=5", "5", CORRECT),
        ("5", "x=5", CORRECT),
        ("y=5", "x=5", WRONG),
        ("2x+3", "y=2x+3", CORRECT),
        ("y-2x-3=0", "y=2x+3", CORRECT),
        (r"2\le x<5", "[2,5)", CORRECT),
        ("[2,5]", "[2,5)", WRONG),
        ("x>2", r"(2,\infty)", CORRECT),
        ("2>x", "x<2", CORRECT),
        (r"x\in[1,2]", "[1,2]", CORRECT),
        ("(2,1)", "(1,2)", WRONG),
        ("2,1", "1,2", CORRECT),
        (r"\{2,1\}", "1,2", CORRECT),
        (r"(3,\pi/2)", r"(3,\frac{\pi}{2})", CORRECT),
        (r"(3,\pi/3)", r"(3,\frac{\pi}{2})", WRONG),
        (r"\sqrt{2},1,3", r"1,3,\sqrt{2}", CORRECT),
        (r"-\sqrt2,\sqrt2", r"\pm\sqrt{2}", CORRECT),
        (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", CORRECT),
        (r"\begin{pmatrix}1\\3\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", WRONG),
        ("(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}", UNDECIDED),
        (r"\text{Evelyn}", "Evelyn", CORRECT),
        ("Evelyn", r"\text{Evelyn}", CORRECT),
        (r"\text{Tuesday}", r"\text{Monday}", WRONG),
        (r"\text{the function is even}", r"\text{even}", UNDECIDED),
        ("C", r"\text{(C)}", CORRECT),
        ("(B)", r"\text{(C)}", WRONG),
        ("12", r"\text{(C)}", UNDECIDED),
        (r"\text{eighteen}", "18", CORRECT),
        (r"\text{No solution}", "18", UNDECIDED),
        (r"575\text{ students}", "575", CORRECT),
        (r"60\text{ inches}", r"5\text{ feet}", CORRECT),
        (r"5\sqrt{2}\text{ cm}", r"5\sqrt2", CORRECT),
        ("3,5", "3.5", UNDECIDED),
        ("3:1", "3:1", CORRECT),
        ("3", "3:1", UNDECIDED),
        ("20:34", r"8\!:\!34 \text{ p.m.}", CORRECT),
        ("20:34", "8:34", UNDECIDED),
        ("?", "18", UNDECIDED),
        (r"\dots", "18", UNDECIDED),
        (r"\frac{1}{0}", "18", NOT_CORRECT),
        ("(" * 500 + "18" + ")" * 500, "19", UNDECIDED),
    ],
)
def test_pairs(boxed: Verifier, pred: str, gold: str, verdicts: tuple[Verdict, ...]) -> None:
    assert judge(boxed, pred, gold) in verdicts


@pytest.mark.parametrize(
    "line", ["#### 18", "####18", "#### 18.", "#### $18", "#### 18.00", "#### 18 dollars", "#### +18"]
)
def test_hash_answers(hashed: Verifier, line: str) -> None:
    response = f"She sells 9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n{line}"
    assert hashed.judge_one(response, "18").verdict is Verdict.CORRECT
    assert hashed.judge_one(response, "19").verdict is Verdict.WRONG
    assert hashed.judge_one(response, "She has ... \n#### 18").verdict is Verdict.CORRECT


def test_a_second_hash_line_that_is_right_is_not_a_negative(hashed: Verifier) -> None:
    assert hashed.judge_one("#### 17\nNo:\n#### 18", "18").verdict is Verdict.UNPARSABLE
    assert hashed.judge_one("#### 18\n\nQuestion: and then?\n#### 5", "18").verdict is Verdict.CORRECT


@pytest.mark.parametrize("cut", range(len(r"so \boxed{\frac{1}{12}}")))
def test_a_response_cut_anywhere_before_its_end_is_never_wrong(boxed: Verifier, cut: int) -> None:
    text = r"so \boxed{\frac{1}{12}}"[:cut]
    assert boxed.judge_one(text, "18").verdict is Verdict.UNPARSABLE


@pytest.mark.parametrize("answer_format", ["auto", "hashed"])
def test_a_solution_cut_before_its_answer_is_never_wrong(answer_format: str, request: pytest.FixtureRequest) -> None:
    verifier: Verifier = request.getfixturevalue(answer_format)
    text = "She sells 16 - 3 - 4 = 9 eggs, for which she is paid 9 * 2 = 18 dollars\n####"
    for cut in range(len(text)):
        if text[:cut].rstrip().endswith(("16", "= 1", "= 9", "= 18", "1")) and answer_format == "auto":
            continue  # a number that ends the text may be the answer: only the finish reason can tell
        assert verifier.judge_one(text[:cut], "77").verdict is Verdict.UNPARSABLE, text[:cut]


def test_boxes_in_a_row(boxed: Verifier) -> None:
    both = r"$x=\boxed{-2}$ and $x=\boxed{1}$"
    assert boxed.judge_one(both, "1").verdict is Verdict.CORRECT  # MATH's golds are last boxes
    assert boxed.judge_one(both, "-2,1").verdict is Verdict.CORRECT
    assert boxed.judge_one(both, "-2").verdict is Verdict.UNPARSABLE
    assert boxed.judge_one(both, "3").verdict is Verdict.WRONG
    roots = r"\boxed{\sqrt{2}} and \boxed{-\sqrt{2}}"
    assert boxed.judge_one(roots, r"\pm\sqrt{2}").verdict is Verdict.CORRECT


@pytest.mark.parametrize(
    ("response", "gold", "verdict"),
    [
        ("She makes $18 every day, for 7 days.", "18", Verdict.UNPARSABLE),
        ("She makes $18 every day, for 7 days.", "126", Verdict.UNPARSABLE),
        ("She makes $18 every day, for 7 days.", "7", Verdict.UNPARSABLE),
        ("She makes 18 * 7 = $126 in a week.", "126", Verdict.CORRECT),
        ("She makes 18 * 7 = $126 in a week.", "125", Verdict.WRONG),
        ("The answer is $x^2+1$.", "1+x^2", Verdict.CORRECT),
        ("The answer is $x^2+2$.", "1+x^2", Verdict.WRONG),
        ("Hence $f(x) = x^2+1$ for all $x$.", "1+x^2", Verdict.UNPARSABLE),
        ("So the probability is $\\frac{1}{2}$.", "\\frac{1}{2}", Verdict.CORRECT),
        ("So the probability is $\\frac{1}{2}$.", "\\frac{1}{3}", Verdict.UNPARSABLE),
        ("So the probability is 1/2.", "\\frac{1}{3}", Verdict.WRONG),
        ("**Answer: Evelyn**", "\\text{Evelyn}", Verdict.CORRECT),
    ],
)
def test_free_text(auto: Verifier, response: str, gold: str, verdict: Verdict) -> None:
    assert auto.judge_one(response, gold).verdict is verdict


@pytest.mark.parametrize("gold", ["", " ", r"\boxed{}", "####", r"\frac{1}{", "x" * 5000])
def test_a_gold_without_an_answer(boxed: Verifier, gold: str) -> None:
    assert boxed.parse_gold(gold) is None
    assert judge(boxed, "18", gold) is Verdict.UNPARSABLE


@pytest.mark.parametrize("gold", ["18", r"\text{(C)}", "(1,2)", "x^2+1", r"so \boxed{7}", "12:00", "a + b + c"])
def test_golds_that_can_be_judged_against(boxed: Verifier, gold: str) -> None:
    assert boxed.parse_gold(gold)


expressions = st.text(alphabet="0123456789xy+-*/^=(){},. \\fracsqtpi%$:", min_size=1, max_size=30)


@given(expressions)
def test_an_answer_equals_itself_without_algebra(text: str) -> None:
    answer = read_answer(text)
    decision = decide(answer, answer)
    assert decision is not None
    assert decision[0] is (Verdict.CORRECT if answer.key else Verdict.UNPARSABLE)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=5), st.lists(st.integers(-50, 50), min_size=2, max_size=5))
def test_bare_lists_are_compared_as_multisets_and_tuples_in_order(a: list[int], b: list[int]) -> None:
    def verdict(opening: str, closing: str) -> bool:
        texts = [opening + ", ".join(map(str, side)) + closing for side in (a, b)]
        decision = decide(*map(read_answer, texts))
        return decision is not None and decision[0] is Verdict.CORRECT

    assert verdict("", "") == (sorted(a) == sorted(b))
    assert verdict("(", ")") == (a == b)
