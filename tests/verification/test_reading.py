"""Random expressions of known value, in people's notation, against the parser's results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.terms.verdict import Verdict
from misstep.verification.normal import tidy
from misstep.verification.reading import other_reading, spell_out
from misstep.verification.verifier import Verifier

X = 1.37
SUM, PRODUCT, POWER, ATOM = range(4)


@dataclass(frozen=True)
class Written:
    """LaTeX, its value, and how tightly it binds."""

    text: str
    value: float
    binding: int

    def at_least(self, binding: int) -> Written:
        return self if self.binding >= binding else Written(f"({self.text})", self.value, ATOM)


def expression(rng: Random, depth: int) -> Written:
    if depth == 0:
        return rng.choice([number(rng), number(rng), Written("x", X, ATOM), Written(r"\pi", math.pi, ATOM)])
    return rng.choice(
        [summed, product, implicit, adjacent, fraction, slashed, power, root, function, negated, binomial]
    )(rng, depth - 1)


def number(rng: Random) -> Written:
    text = rng.choice([str(rng.randint(1, 12)), str(rng.randint(1, 200)), "0.5", "2.25", ".75"])
    return Written(text, float(text), ATOM)


def summed(rng: Random, depth: int) -> Written:
    a, b = expression(rng, depth), expression(rng, depth).at_least(PRODUCT)
    if rng.random() < 0.5:
        return Written(f"{a.text} + {b.text}", a.value + b.value, SUM)
    return Written(f"{a.text} - {b.text}", a.value - b.value, SUM)


def product(rng: Random, depth: int) -> Written:
    a, b = (expression(rng, depth).at_least(PRODUCT) for _ in range(2))
    return Written(
        rf"{a.text} {rng.choice([chr(92) + 'cdot', chr(92) + 'times'])} {b.text}", a.value * b.value, PRODUCT
    )


def implicit(rng: Random, depth: int) -> Written:
    a, b = number(rng), expression(rng, depth).at_least(POWER)
    if b.text[0].isdigit() or b.text[0] in "-." or b.text.startswith(r"\frac"):
        b = Written(f"({b.text})", b.value, ATOM)
    return Written(f"{a.text}{rng.choice(['', ' '])}{b.text}", a.value * b.value, PRODUCT)


def adjacent(rng: Random, depth: int) -> Written:
    a, b = expression(rng, depth), expression(rng, depth)
    return Written(f"({a.text})({b.text})", a.value * b.value, PRODUCT)


def fraction(rng: Random, depth: int) -> Written:
    a, b = expression(rng, depth), expression(rng, depth)
    if abs(b.value) < 1e-6:
        b = Written("7", 7.0, ATOM)
    return Written(rf"\frac{{{a.text}}}{{{b.text}}}", a.value / b.value, PRODUCT)


def slashed(rng: Random, depth: int) -> Written:
    over, under = expression(rng, depth), rng.randint(2, 30)
    name, value = rng.choice([(r"\pi", math.pi), ("x", X), (r"\sqrt{2}", math.sqrt(2))])
    top = over.text if over.text.isdigit() else f"({over.text})"
    bottom = rng.choice([f"{under}", f"({under})"])
    return Written(f"{top}/{bottom}{rng.choice(['', ' '])}{name}", over.value / under * value, PRODUCT)


def power(rng: Random, depth: int) -> Written:
    base, exponent = expression(rng, depth).at_least(ATOM), rng.choice([2, 3])
    if (base.text.startswith("\\") and base.text != r"\pi") or "!" in base.text:
        base = Written(f"({base.text})", base.value, ATOM)
    written = rng.choice([f"^{exponent}", f"^{{{exponent}}}"])
    return Written(base.text + written, base.value**exponent, POWER)


def root(rng: Random, depth: int) -> Written:
    a = expression(rng, depth)
    if a.value < 0:
        a = Written(f"({a.text})^2", a.value**2, POWER)
    return Written(rf"\sqrt{{{a.text}}}", math.sqrt(a.value), ATOM)


def function(rng: Random, depth: int) -> Written:
    a = expression(rng, depth)
    name, of = rng.choice([(r"\sin", math.sin), (r"\cos", math.cos)])
    written = rng.choice([f"({a.text})", f"{{({a.text})}}"])
    return Written(name + written, of(a.value), ATOM)


def negated(rng: Random, depth: int) -> Written:
    a = expression(rng, depth).at_least(PRODUCT)
    return a if a.text.startswith("-") else Written(f"-{a.text}", -a.value, SUM)


def binomial(rng: Random, depth: int) -> Written:
    n, k = rng.randint(3, 9), rng.randint(1, 3)
    if rng.random() < 0.5:
        return Written(f"{n}!", float(math.factorial(n)), ATOM)
    return Written(rf"\binom{{{n}}}{{{k}}}", float(math.comb(n, k)), ATOM)


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_the_parser_reads_what_was_written(rng: Random, depth: int) -> None:
    import sympy

    from misstep.verification import symbolic

    written = expression(rng, depth)
    if not 1e-9 < abs(written.value) < 1e12:
        return  # nothing to compare in double precision
    read = symbolic._parse(tidy(written.text))
    assert read is not None, written
    at = {name: sympy.Rational(137, 100) for name in read.free_symbols}
    assert math.isclose(float(read.subs(at).doit().evalf(30)), written.value, rel_tol=1e-6, abs_tol=1e-6), written


@pytest.mark.parametrize(
    ("pred", "gold", "verdict"),
    [
        ("2(3)", "6", Verdict.CORRECT),
        ("2(3)", "5", Verdict.WRONG),
        ("(2)(3)", "6", Verdict.CORRECT),
        (r"(\binom{3}{1})(\binom{3}{1})", "9", Verdict.CORRECT),
        (r"\binom{3}{1}\binom{4}{1}", "12", Verdict.CORRECT),
        (r"2\frac{3}{2}", "3", Verdict.CORRECT),
        (r"2\frac{1}{2}", r"\frac{5}{2}", Verdict.CORRECT),
        (r"3\binom{8}{1}", "24", Verdict.CORRECT),
        (r"4/3\pi", r"\frac{4}{3}\pi", Verdict.CORRECT),
        (r"4/3\pi", r"\frac{4}{3\pi}", Verdict.UNPARSABLE),
        ("1/2x", r"\frac{1}{2x}", Verdict.UNPARSABLE),
        ("1/2x", r"\frac{1}{3x}", Verdict.WRONG),
        ("2/25 - 14/25i", r"\frac{2}{25} - \frac{14}{25}i", Verdict.CORRECT),
        (r"\sin x \cdot \cos x", r"\frac{\sin 2x}{2}", Verdict.CORRECT),
        (r"\ln{2} \cdot 3", r"\ln 8", Verdict.CORRECT),
        (r"\sin 30^\circ", r"\frac{1}{2}", Verdict.CORRECT),
        (r"\cos 60^\circ", r"\sin 30^\circ", Verdict.CORRECT),
        ("a + b + c", "a + b", Verdict.WRONG),
        ("3 t", "3 u", Verdict.WRONG),
    ],
)
def test_readings(boxed: Verifier, pred: str, gold: str, verdict: Verdict) -> None:
    assert boxed.judge_one(rf"\boxed{{{pred}}}", gold).verdict is verdict


def test_only_a_slash_before_a_product_has_another_reading() -> None:
    assert other_reading(r"\frac{1}{2}x") is None
    assert other_reading("1/2") is None
    assert other_reading("1/2x") == "1/2x"
    assert spell_out("1/2x") == r"1/2 \cdot x"
