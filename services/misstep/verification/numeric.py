"""Compare two expressions by their values, to sixty digits at a few points."""

from __future__ import annotations

import random
from fractions import Fraction

import sympy
from sympy import Basic, Expr, Float, MatrixBase, Rational, Symbol
from sympy.core.relational import Relational

from misstep.terms.verdict import Verdict
from misstep.verification.exact import Exact, Match, rounded

Outcome = tuple[Verdict, str]

DIGITS = 60
_AGREE = sympy.Float("1e-45", 30)
_DIFFER = sympy.Float("1e-9", 30)
_DIFFER_ROUNDED = sympy.Float("1e-3", 30)


def is_quantity(value: object) -> bool:
    """Return whether an expression has a value at each point: no relation, set, matrix or undefined function."""
    return (
        isinstance(value, Expr)
        and not isinstance(value, MatrixBase)
        and not value.has(sympy.core.function.AppliedUndef, Relational, sympy.oo, -sympy.oo)
        and not value.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative)
    )


def compare_numerically(gold: Basic | MatrixBase, pred: Basic | MatrixBase) -> Outcome | None:
    """Decide by evaluating both sides at a few points; None if that proves nothing.

    This is far cheaper than simplifying the difference, and avoids math-verify's absolute tolerance, by which 1/2004!
    equals 1/2006!.
    """
    if not (is_quantity(gold) and is_quantity(pred)):
        kinds = {is_quantity(side): side for side in (gold, pred)}
        if True in kinds and isinstance(kinds.get(False), sympy.Interval | sympy.Union | sympy.Tuple):
            return Verdict.WRONG, "kind"
        return None
    if isinstance(gold, Symbol) or isinstance(pred, Symbol):
        return None  # words are parsed as symbols too
    symbols = sorted(gold.free_symbols | pred.free_symbols, key=str)
    if not symbols and gold.is_rational and pred.is_rational:
        a, b = gold.doit(), pred.doit()
        if isinstance(a, Rational) and isinstance(b, Rational):
            return (Verdict.CORRECT if a == b else Verdict.WRONG), "rational"
    rng = random.Random(0)
    # The points are a positive integer, a positive fraction, and fractions of either sign. Roots and logarithms are
    # real at the first two, and identities of integers hold only at the first.
    points = [
        {symbol: sympy.Integer(rng.randrange(2, 12)) for symbol in symbols},
        {symbol: Rational(rng.randrange(20, 90), 41) for symbol in symbols},
        {symbol: Rational(-rng.randrange(20, 90), 43) for symbol in symbols},
        {symbol: Rational(rng.choice((-1, 1)) * rng.randrange(20, 90), 47) for symbol in symbols},
    ]
    agreements = [_agree_at(gold, pred, point) for point in (points if symbols else points[:1])]
    if all(agreements):
        return Verdict.CORRECT, "numeric"
    if not any(agreements) and False in agreements[:2]:
        return Verdict.WRONG, "numeric"
    if symbols and agreements[0] and agreements[1]:
        return Verdict.UNPARSABLE, "numeric"  # equal for positive variables: sqrt(1/n) and 1/sqrt(n)
    return None


def _agree_at(gold: Expr, pred: Expr, point: dict[Symbol, Rational]) -> bool | None:
    a, b = (side.subs(point).doit().evalf(DIGITS) for side in (gold, pred))
    if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
        return None
    differ = _DIFFER if not (gold.has(Float) or pred.has(Float)) else _DIFFER_ROUNDED
    size = max(abs(a), abs(b)).evalf(DIGITS)
    gap = abs(a - b).evalf(DIGITS)
    if not (size.is_Float or size.is_Rational) or not (gap.is_Float or gap.is_Rational):
        return None
    if size == 0:
        return True
    if size < sympy.Float("1e-40") and not (gold.is_zero is False and pred.is_zero is False):
        return None  # may be zero apart from rounding
    if gap <= _AGREE * size:
        return True
    return False if gap > differ * size else None


def confirm(gold: Basic | MatrixBase, pred: Basic | MatrixBase) -> Outcome:
    """Accept math-verify's "equal", unless it is only due to its absolute tolerance."""
    if is_quantity(gold) and is_quantity(pred) and not (gold.free_symbols or pred.free_symbols):
        a, b = (side.doit().evalf(DIGITS) for side in (gold, pred))
        tolerance = sympy.Float("1e-5") if gold.has(Float) or pred.has(Float) else sympy.Float("1e-20")
        if a.is_number and b.is_number and not abs(a - b) <= tolerance * max(abs(a), abs(b)):
            return Verdict.UNPARSABLE, "tolerance"
    return Verdict.CORRECT, "symbolic"


def is_rounded(number: Exact, other: Basic | MatrixBase) -> bool:
    """Return whether a decimal is the value of an expression, rounded or truncated."""
    if number.decimals is None or not is_quantity(other) or other.free_symbols:
        return False
    value = other.doit().evalf(DIGITS)
    return bool(value.is_Float) and rounded(number, Fraction(str(value))) is not Match.DIFFERENT
