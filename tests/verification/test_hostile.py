"""Answers made to hang, crash or exhaust a verifier: each costs at most two seconds and affects no other answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from misstep.terms.verdict import Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier
from tests.verification.timing import allowed

HOSTILE = {
    "power tower": "9^{9^{9^{9}}}",
    "power tower, flat": "9^9^9^9",
    "exponent": "7^{10000000019} + x",
    "factorial": "(10^7)!",
    "factorial of factorial": "((9!)!)!",
    "binomial": r"\binom{10^9}{5 \cdot 10^8}",
    "sum": r"\sum_{n=1}^{10^9} \frac{1}{n^3+n+1}",
    "product": r"\prod_{n=1}^{10^8} (1 + \frac{1}{n^2})",
    "integral": r"\int_0^1 \frac{\sin(e^{x^x})}{\sqrt{1+x^{17}}} dx",
    "nested fractions": r"\frac{1}{1+" * 300 + "x" + "}" * 300,
    "nested fractions, few": r"\frac{1}{1+" * 40 + "x" + "}" * 40,
    "parentheses": "(" * 1500 + "1" + ")" * 1500,
    "roots": r"\sqrt{x+" * 50 + "1" + "}" * 50,
    "polynomial": "(x+y+z+w+1)^{200}",
    "matrix power": r"\begin{pmatrix}1.1&2\\3&4.7\end{pmatrix}^{100000000}",
    "trigonometry": r"\sin(\cos(\tan(x^{x})))^{97} - \cos(\sin(x))^{89} + \tan(7x)^{83}",
    "long sum": "+".join(f"x^{{{n}}}" for n in range(500)),
    "long list": ",".join(rf"\sqrt{{{n}}}" for n in range(400)),
    "long": "9" * 1_000_000,
    "long and unclosed": "{" * 1_000_000,
    "long words": "a " * 500_000,
    "spaces": " " * 1_000_000 + "x+1",
    "nothing but signs": "-" * 4000 + "x",
    "commands": r"\frac" * 800,
    "nulls": "\0" * 1000 + "x",
    "surrogate": "\ud800+x",
    "superscripts": "^" * 3000,
}


@pytest.fixture(scope="module")
def warm() -> Iterator[Verifier]:
    with Verifier(AnswerFormat.BOXED) as verifier:
        verifier.judge_one(r"\boxed{x}", "y + 1")  # so that no test pays for starting the worker
        yield verifier


@pytest.mark.parametrize("name", list(HOSTILE))
@pytest.mark.parametrize("gold", ["18", r"x^2 + \sqrt{y} + 1"])
@pytest.mark.no_cover
def test_a_hostile_answer_is_bounded(warm: Verifier, name: str, gold: str) -> None:
    start = time.perf_counter()
    judgement = warm.judge_one(rf"\boxed{{{HOSTILE[name]}}}", gold)
    assert time.perf_counter() - start < allowed(2.0)
    assert judgement.verdict is not Verdict.CORRECT


@pytest.mark.parametrize("name", ["power tower", "sum", "polynomial", "parentheses", "long"])
@pytest.mark.no_cover
def test_a_hostile_gold_is_bounded(warm: Verifier, name: str) -> None:
    start = time.perf_counter()
    judgement = warm.judge_one(r"\boxed{x^2 + 1}", HOSTILE[name])
    warm.parse_gold(HOSTILE[name])
    assert time.perf_counter() - start < allowed(4.0)
    assert judgement.verdict is not Verdict.CORRECT


@pytest.mark.parametrize("name", ["power tower", "nested fractions", "parentheses", "sum"])
@pytest.mark.no_cover
def test_a_hostile_free_text_is_bounded(name: str) -> None:
    text = (f"We see that ${HOSTILE[name]}$ holds, hence $x = {HOSTILE[name]}$. " * 50).strip()
    with Verifier(AnswerFormat.AUTO) as verifier:
        verifier.judge_one("Hence $x$.", "y + 1")
        start = time.perf_counter()
        assert verifier.judge_one(text, "x^2 + 1").verdict in (Verdict.UNPARSABLE, Verdict.TIMEOUT)
        assert time.perf_counter() - start < allowed(2.0)


@pytest.mark.slow
@pytest.mark.no_cover
def test_two_hundred_hostile_answers_cost_nobody_else_anything() -> None:
    normal = [
        (r"\boxed{(x+1)^2}", "x^2+2x+1", Verdict.CORRECT),
        (r"\boxed{(x+2)^2}", "x^2+2x+1", Verdict.WRONG),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}", Verdict.CORRECT),
        (r"\boxed{18}", "18", Verdict.CORRECT),
    ]
    bad = list(HOSTILE.values())
    items, expected = [], []
    for n in range(200):
        items.append((rf"\boxed{{{bad[n % len(bad)]} + {n}}}", f"y^{{{n}}}"))  # no two alike: none is remembered
        response, gold, verdict = normal[n % len(normal)]
        items.append((response, gold))
        expected.append(verdict)
    with Verifier(AnswerFormat.BOXED, workers=2, timeout_seconds=0.4) as verifier:
        start = time.perf_counter()
        judgements = list(verifier.judge(items))
        took = time.perf_counter() - start
    assert [judgement.verdict for judgement in judgements[1::2]] == expected
    assert all(judgement.verdict is not Verdict.CORRECT for judgement in judgements[::2])
    assert took < allowed(80.0)
