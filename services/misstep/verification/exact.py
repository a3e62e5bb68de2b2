"""Numbers compared exactly, with their units.

Everything is a :class:`fractions.Fraction`: no floats, so that ``2^{-99}`` and ``2^{-98}`` differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from misstep.verification.units import Unit, generic_clash, is_generic, ratio


class Match(Enum):
    """The relation of two exact answers; UNKNOWN is evidence neither for nor against the response."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Exact:
    """One number, with details of its spelling.

    Attributes:
        value: the number before a percent sign or unit; for a numeral with a base, its digits read as decimal.
        decimals: digits after the point of a decimal numeral, None for every other form.
        percent: whether a percent sign or the word "percent" follows.
        unit: what it counts or measures; None if there is no unit.
        base: the subscript of a numeral such as ``1202_3``.
        other: the value of the numeral if commas and points are exchanged (``1.234``), else None.
        joined: whether the unit is one letter without a space before it, as a variable would be (``5m``).
        digits: the digits of a numeral with letters (``2A_{16}``); its ``value`` only serves to distinguish it from
            others.
    """

    value: Fraction
    decimals: int | None = None
    percent: bool = False
    unit: Unit | None = None
    base: int | None = None
    other: Fraction | None = None
    joined: bool = False
    digits: str = ""


_CONVERSIONS = frozenset({3, 7, 8, 10, 12, 16, 24, 30, 36, 52, 60, 100, 144, 365, 1000, 1760, 3600, 5280, 10_000})
_NEARLY = Fraction(1, 50)


def compare_exact(pred: Exact, gold: Exact) -> Match:
    """Compare two numbers.

    - A percent sign reads as the number itself or as hundredths, since golds omit the sign as often as they keep it:
    ``50%`` equals both ``50`` and ``0.5``, but ``0.5`` never equals ``50``.
    - Units of one kind are converted. A unit on one side only is ignored, unless the numbers differ by a conversion
    ratio of units: then UNKNOWN. Units that do not convert: UNKNOWN.
    - A decimal that is the other number rounded or truncated is UNKNOWN below six decimals, EQUAL from six on.
    - A base on one side only: equal digits are EQUAL, equal values UNKNOWN.
    - ``1.234`` and ``1234`` are UNKNOWN: the point may separate thousands.
    """
    if pred.base is not None or gold.base is not None:
        return _compare_bases(pred, gold)
    if generic_clash(pred.unit, gold.unit):
        return Match.UNKNOWN
    if is_generic(pred.unit) or is_generic(gold.unit):
        return _compare_values(pred, gold)
    assert pred.unit is not None and gold.unit is not None
    factor = ratio(gold.unit, pred.unit)
    if factor is None:
        return Match.UNKNOWN
    if factor == 1:
        return _compare_values(replace(pred, unit=None), replace(gold, unit=None))
    return _compare_converted(pred, gold, factor)


def _compare_converted(pred: Exact, gold: Exact, factor: Fraction) -> Match:
    """Compare numbers whose units convert: one of gold's is ``factor`` of pred's."""
    here, there = gold.value * factor, pred.value / factor
    if pred.value == here:
        return Match.EQUAL
    if Match.DIFFERENT not in (rounded(pred, here), rounded(gold, there)):
        return Match.UNKNOWN
    matches = {rounded(pred, here), rounded(gold, there)} - {Match.DIFFERENT}
    nearly = abs(pred.value - here) <= _NEARLY * max(abs(here), abs(pred.value))
    return Match.UNKNOWN if matches or nearly else Match.DIFFERENT


def _compare_values(pred: Exact, gold: Exact) -> Match:
    if pred.value == gold.value or (pred.percent != gold.percent and _true(pred) == _true(gold)):
        # "5m" against "5": metres, or a variable.
        if pred.percent != gold.percent and not (is_generic(pred.unit) and is_generic(gold.unit)):
            return Match.UNKNOWN
        return Match.UNKNOWN if (pred.joined and not gold.unit) or (gold.joined and not pred.unit) else Match.EQUAL
    if (pred.percent and not is_generic(gold.unit)) or (gold.percent and not is_generic(pred.unit)):
        return Match.UNKNOWN
    if (pred.unit or gold.unit) and is_conversion(pred.value, gold.value):
        return Match.UNKNOWN
    if pred.other == gold.value or gold.other == pred.value:
        return Match.UNKNOWN
    return _compare_rounded(pred, gold)


def rounded(decimal: Exact, other: Fraction) -> Match:
    """Return whether a decimal numeral is another number rounded or truncated (DIFFERENT if it is not)."""
    places = decimal.decimals
    if places is None or places < 2:
        return Match.DIFFERENT
    unit = Fraction(1, 10**places)
    is_rounded = abs(decimal.value - other) * 2 <= unit
    is_cut = 0 <= (abs(other) - abs(decimal.value)) < unit and decimal.value * other >= 0
    if not (is_rounded or is_cut):
        return Match.DIFFERENT
    # A tiny number keeps too few significant digits at six decimals.
    return Match.EQUAL if is_rounded and places >= 6 and abs(other) >= Fraction(1, 100) else Match.UNKNOWN


def _compare_rounded(pred: Exact, gold: Exact) -> Match:
    forward = rounded(pred, gold.value)
    return forward if forward is not Match.DIFFERENT else rounded(gold, pred.value)


def _compare_bases(pred: Exact, gold: Exact) -> Match:
    if pred.value == gold.value and (pred.base is None or gold.base is None or pred.base == gold.base):
        return Match.EQUAL
    return Match.UNKNOWN if _in_base(pred) == _in_base(gold) else Match.DIFFERENT


def _in_base(number: Exact) -> Fraction:
    if number.base is None or number.base == 10:
        return number.value
    try:
        return Fraction(int(number.digits or str(number.value), number.base))
    except ValueError:
        return Fraction(-1)  # not a valid numeral of its base: equal to nothing


def _true(number: Exact) -> Fraction:
    return number.value / 100 if number.percent else number.value


def is_conversion(a: Fraction, b: Fraction) -> bool:
    """Whether two numbers differ by a conversion ratio of units, such as 60."""
    if not a or not b:
        return False
    ratio = a / b if abs(a) > abs(b) else b / a
    return ratio.denominator == 1 and ratio.numerator in _CONVERSIONS
