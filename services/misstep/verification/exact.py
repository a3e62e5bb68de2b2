r"""Numbers compared exactly: integers, decimals, fractions, mixed and scientific notation, with units.

Everything is a :class:`fractions.Fraction`: no floats, so that ``2^{-99}`` and ``2^{-98}`` differ. Sizes are bounded
before anything is computed, and parsing is one regular expression without nested repetition, so that text of
any length and exponents of any size cost little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

MAX_DIGITS = 1000
MAX_BITS = 20_000
"""A power whose value has more bits than this is left to the symbolic path."""


class Match(Enum):
    """How two exact answers relate; UNKNOWN is neither evidence for nor against the response."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Exact:
    """One number as it was written.

    Attributes:
        value: the number in front of a percent sign or unit; for a numeral with a base, its digits read as decimal.
        decimals: digits after the point of a decimal numeral, None for every other form.
        percent: whether a percent sign or the word follows.
        unit: lower-case unit words that follow, empty without any.
        base: the subscript of a numeral such as ``1202_3``.
    """

    value: Fraction
    decimals: int | None = None
    percent: bool = False
    unit: str = ""
    base: int | None = None


_INTEGER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[ ]\d{3})+(?!\d)|\d+"
_DECIMAL = rf"(?:{_INTEGER})(?:\.\d*)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?:[+-]\s?){{0,2}})
    (?:
        (?:(?P<whole>\d+)\s*)?
        \\frac\s*\{{\s*(?P<num>-?\s?(?:{_DECIMAL}))\s*\}}\s*\{{\s*(?P<den>-?\s?(?:{_DECIMAL}))\s*\}}
      | (?:(?P<mixed>\d+)\s+)? (?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})
      | (?P<base_digits>\d+)\s*_\s*(?:\{{\s*(?P<base>\d{{1,2}})\s*\}}|(?P<base_digit>\d{{1,2}}))
      | (?P<fixed>\d*\.\d*)\s*\\overline\s*\{{\s*(?P<repeating>\d+)\s*\}}
      | (?P<decimal>{_DECIMAL})
        (?:\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*(?P<exp_braced>[+-]?\d{{1,9}})\s*\}}|(?P<exp>[+-]?\d{{1,9}})(?!\d))
          | [eE](?P<e>[+-]?\d{{1,9}})(?![\d.])
          | \s*\^\s*(?:\{{\s*(?P<power_braced>[+-]?\d{{1,9}})\s*\}}|(?P<power>\d{{1,9}})(?!\d))
        )?
    )
    """,
    re.VERBOSE,
)
_PERCENT = re.compile(r"\s*(?:%|(?:\\text\s*\{\s*)?(?:percent(?:age)?|pct)\b\s*\}?)")
_WORD = r"[A-Za-z]{2,}\.?"
_UNIT = re.compile(
    rf"""
    \s*(?:
        \^\\circ\s?(?P<degree>[CF]?)
      | (?:\\text\s*\{{\s*(?P<text>[A-Za-z][^{{}}]{{0,60}}?)\s*\}}
          | (?P<short>cm|mm|km|dm|kg|mg|ft|in|lbs?|oz|hrs?|mins?|mph|mi|ml|yd)
          | \s(?P<words>{_WORD}(?:[ -]{_WORD}){{0,4}}) )
        (?:\s*\^\s*\{{?\s*(?P<unit_power>[2-9])\s*\}}?)?
    )\s*
    """,
    re.VERBOSE,
)
_NOT_UNITS = frozenset(
    re.findall(
        r"\w+",
        """and or to plus minus times over mod if when where is are was with by not pi sqrt sin cos tan cot sec csc
        log ln exp inf infinity max min lim in of xor hundred thousand million billion trillion half halves third
        thirds quarter quarters dozen""",
    )
)
_NUMBER_WORDS = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_CONVERSIONS = frozenset({3, 7, 8, 10, 12, 16, 24, 30, 36, 52, 60, 100, 144, 365, 1000, 1760, 3600, 5280, 10_000})


def parse_exact(tidied: str) -> Exact | None:
    """Read an answer (as ``normal.tidy`` writes it) as one number, or return None."""
    if not tidied or len(tidied) > MAX_DIGITS + 200:
        return None
    match = _NUMBER.match(tidied)
    if match is None:
        return None
    number = _value(match)
    if number is None:
        return None
    value, decimals, base = number
    rest = tidied[match.end() :]
    scale = _NUMBER_WORDS.get(rest.strip().lower().split(" ")[0]) if rest else None
    if scale is not None:
        value, decimals = value * scale, None
        rest = rest.strip().partition(" ")[2]
        rest = f" {rest}" if rest else ""
    percent = _PERCENT.match(rest)
    if percent is not None:
        rest = rest[percent.end() :]
    unit = ""
    if rest.strip():
        found = _UNIT.fullmatch(rest)
        if found is None:
            return None
        unit = _unit_name(found)
        if set(unit.split()) & _NOT_UNITS and not found["short"] and not found["text"]:
            return None
        if set(unit.split()) & {"and", "or", "to"}:
            return None
    return Exact(value, decimals, percent is not None, unit, base)


def compare_exact(pred: Exact, gold: Exact) -> Match:
    """Compare two numbers.

    - A percent sign reads as the number itself or as hundredths, since golds drop the sign as often as they keep
      it: ``50%`` equals both ``50`` and ``0.5``, but ``0.5`` never equals ``50``.
    - Units count only where they could explain a difference: unlike units on both sides, or a unit on one side
      and a ratio of the two numbers that converts units, make the comparison UNKNOWN.
    - A decimal that is the other number rounded or cut off is UNKNOWN below six decimals, EQUAL from six on.
    - A base on one side only: equal digits are EQUAL, equal values UNKNOWN.
    """
    if pred.base is not None or gold.base is not None:
        return _compare_bases(pred, gold)
    if pred.value == gold.value and _clashing_powers(pred.unit, gold.unit):
        return Match.UNKNOWN
    if pred.value == gold.value or (pred.percent != gold.percent and _true(pred) == _true(gold)):
        return Match.EQUAL
    if (pred.unit and gold.unit and pred.unit != gold.unit) or (
        (pred.unit or gold.unit) and _is_conversion(pred.value, gold.value)
    ):
        return Match.UNKNOWN
    return _compare_rounded(pred, gold)


def rounded(decimal: Exact, other: Fraction) -> Match:
    """Say whether a decimal numeral is another number rounded or cut off (DIFFERENT if it is not)."""
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
        return Fraction(int(str(number.value), number.base))
    except ValueError:
        return Fraction(-1)  # not a numeral of its base: equal to nothing


def _clashing_powers(a: str, b: str) -> bool:
    """Whether one unit is another to a different power: square against cubic centimetres."""
    return "^" in a and "^" in b and a[-1] != b[-1]


def _true(number: Exact) -> Fraction:
    return number.value / 100 if number.percent else number.value


def _is_conversion(a: Fraction, b: Fraction) -> bool:
    if not a or not b:
        return False
    ratio = a / b if abs(a) > abs(b) else b / a
    return ratio.denominator == 1 and ratio.numerator in _CONVERSIONS


def _unit_name(found: re.Match[str]) -> str:
    if found["degree"] is not None:
        return f"degree {found['degree'].lower()}".strip()
    name = (found["text"] or found["short"] or found["words"] or "").lower()
    words = [word.strip(".").removesuffix("s") for word in name.split()]
    return " ".join(words + ([f"^{found['unit_power']}"] if found["unit_power"] else []))


def _value(match: re.Match[str]) -> tuple[Fraction, int | None, int | None] | None:
    """The number of a match as (value, decimals, base); None where it is undefined or too large."""
    if match.end() - match.start() > MAX_DIGITS:
        return None
    sign = -1 if match["sign"].count("-") == 1 else 1
    if match["num"] is not None:
        return _fraction(sign, match["whole"], match["num"], match["den"])
    if match["over"] is not None:
        return _fraction(sign, match["mixed"], match["over"], match["under"])
    if match["base_digits"] is not None:
        return Fraction(sign * int(match["base_digits"])), None, int(match["base"] or match["base_digit"])
    if match["repeating"] is not None:
        places = len(match["fixed"].partition(".")[2])
        tail = Fraction(int(match["repeating"]), 10 ** len(match["repeating"]) - 1) / 10**places
        return sign * (_plain(f"0{match['fixed']}0") + tail), None, None
    numeral = match["decimal"]
    value, decimals = _plain(numeral), len(numeral.partition(".")[2]) if "." in numeral else None
    exponent = match["exp_braced"] or match["exp"] or match["e"]
    if exponent is not None:
        scale = _power(Fraction(10), int(exponent))
        return None if scale is None else (sign * value * scale, None, None)
    exponent = match["power_braced"] or match["power"]
    if exponent is not None:
        power = _power(value, int(exponent))
        return None if power is None else (sign * power, None, None)
    return sign * value, decimals, None


def _fraction(sign: int, whole: str | None, over: str, under: str) -> tuple[Fraction, None, None] | None:
    denominator = _plain(under)
    if not denominator:
        return None
    part = _plain(over) / denominator
    if whole is not None and (part < 0 or part >= 1):
        return None  # a mixed number has a proper fraction; 2\frac{3}{2} may be a product
    return sign * ((int(whole) if whole else 0) + part), None, None


def _plain(numeral: str) -> Fraction:
    text = numeral.replace(",", "").replace(" ", "")
    return Fraction(text + "0" if text.endswith(".") else text)


def _power(base: Fraction, exponent: int) -> Fraction | None:
    if not base and exponent <= 0:
        return None
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    return None if size * abs(exponent) > MAX_BITS else base**exponent
