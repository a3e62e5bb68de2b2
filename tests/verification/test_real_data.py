"""GSM8K and MATH against themselves: official solutions are correct, altered answers are not."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from misstep.terms.verdict import Judgement, Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.gold import gold_answer
from misstep.verification.verifier import Verifier
from tests.verification.data import altered, rows


def count(judgements: list[Judgement]) -> Counter[Verdict]:
    return Counter(judgement.verdict for judgement in judgements)


@pytest.mark.parametrize("answer_format", [AnswerFormat.HASH, AnswerFormat.AUTO])
@pytest.mark.parametrize("file", ["test.jsonl", "train.jsonl"])
def test_every_gsm8k_solution(file: str, answer_format: AnswerFormat) -> None:
    solutions = [row["answer"] for row in rows("gsm8k", file)]
    golds = [gold_answer(solution) for solution in solutions]
    assert all(re.fullmatch(r"-?[\d,]+", gold) for gold in golds)
    rng = random.Random(0)
    wrong = [f"{int(gold.replace(',', '')) + rng.choice((-1, 1, 10, 100)):,}" for gold in golds]
    with Verifier(answer_format) as verifier:
        assert count(list(verifier.judge(zip(solutions, golds, strict=True)))) == {Verdict.CORRECT: len(golds)}
        assert count(list(verifier.judge(zip(solutions, wrong, strict=True)))) == {Verdict.WRONG: len(golds)}
        assert not verifier.symbolic_started


def test_gsm8k_solutions_without_their_last_line_have_no_answer() -> None:
    solutions = [row["answer"] for row in rows("gsm8k", "test.jsonl")]
    with Verifier(AnswerFormat.HASH) as verifier:
        cut = [(solution.rsplit("####", 1)[0], solution) for solution in solutions]
        assert count(list(verifier.judge(cut))) == {Verdict.UNPARSABLE: len(cut)}


def check_math(sample: list[dict[str, str]]) -> None:
    rng = random.Random(0)
    golds = [row["answer"] for row in sample if row["answer"].strip()]
    solutions = [row["solution"] for row in sample if row["answer"].strip()]
    with Verifier(AnswerFormat.BOXED) as verifier:
        right = list(verifier.judge(zip(solutions, golds, strict=True)))
        assert count(right)[Verdict.CORRECT] >= 0.999 * len(golds)
        unknown = [gold for gold in golds if verifier.parse_gold(gold) is None]
        assert len(unknown) <= 0.001 * len(golds), unknown
        changed = [(rf"\boxed{{{other}}}", gold) for gold in golds if (other := altered(gold, rng))]
        judged = list(verifier.judge(changed))
        pairs = zip(changed, judged, strict=True)
        assert [pair for pair, judgement in pairs if judgement.verdict is Verdict.CORRECT] == []
        assert count(judged)[Verdict.WRONG] >= 0.99 * len(judged)


def test_math500_against_itself() -> None:
    check_math(rows("math", "test500.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["test.jsonl", "train.jsonl"])
def test_all_of_math_against_itself(file: str) -> None:
    check_math(rows("math", file))


def check_pairs(golds: list[str], pairs: int) -> None:
    """Golds of different problems are equal only where both are the same number, spelt differently."""
    rng = random.Random(1)
    drawn = [(rng.choice(golds), rng.choice(golds)) for _ in range(pairs)]
    with Verifier(AnswerFormat.BOXED) as verifier:
        judgements = list(verifier.judge((rf"\boxed{{{a}}}", b) for a, b in drawn))
    taken_for_equal = {
        (a, b)
        for (a, b), judgement in zip(drawn, judgements, strict=True)
        if judgement.verdict is Verdict.CORRECT and _essence(a) != _essence(b)
    }
    assert taken_for_equal == set()
    assert count(judgements)[Verdict.TIMEOUT] <= 0.001 * pairs


def _essence(gold: str) -> str:
    """What is left of an answer without units, percent signs and spacing."""
    gold = re.sub(r"^\\text\s*\{\(?(.*?)\)?\}$", r"\1", gold)
    gold = re.sub(
        r"\\text\s*\{[^}]*\}(\^\d)?|\^\s*\{?\\circ\}?|\\%|\\\$|\\!|\{,\}|\s|_\{?\d+\}?|\\left|\\right", "", gold
    )
    return re.sub(r"(?<=\d),(?=\d{3})|^[a-z]=", "", gold).replace("dfrac", "frac").replace("tfrac", "frac")


def test_golds_of_different_problems_differ() -> None:
    check_pairs([row["answer"] for row in rows("math", "test500.jsonl")], 400)


@pytest.mark.slow
def test_golds_of_different_problems_differ_in_all_of_math() -> None:
    check_pairs([row["answer"] for row in rows("math", "test.jsonl")], 4000)


@pytest.mark.parametrize("spelling", ["dfrac", "spaces", "left", "text"])
def test_golds_spelt_otherwise(spelling: str) -> None:
    golds = [row["answer"] for row in rows("math", "test500.jsonl")]
    spelt = {
        "dfrac": lambda gold: gold.replace(r"\frac", r"\dfrac"),
        "spaces": lambda gold: re.sub(r"(?<!\\)(?<!\d)([=+])", r" \1 ", gold),
        "left": lambda gold: (
            re.sub(r"(?<![a-zA-Z])\(", r"\\left(", gold).replace(")", r"\right)") if r"\left" not in gold else gold
        ),
        "text": lambda gold: f"${gold}$.",
    }[spelling]
    with Verifier(AnswerFormat.BOXED) as verifier:
        judgements = verifier.judge((rf"\boxed{{{spelt(gold)}}}", gold) for gold in golds)
        failed = [(g, j) for g, j in zip(golds, judgements, strict=True) if j.verdict is not Verdict.CORRECT]
    assert failed == []
