r"""Read one number: integers, decimals, fractions, mixed and scientific notation, words, with a unit or several parts.

Sizes are limited before anything is computed, and parsing uses one regular expression without nested repetition, so
text of any length and exponents of any size are cheap.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from misstep.verification.exact import Exact
from misstep.verification.numerals import SCALES, number_in_words
from misstep.verification.units import ratio, read_unit

MAX_DIGITS = 1000
MAX_BITS = 20_000
"""A power with more bits than this is left to the symbolic comparison."""

_INTEGER = (
    r"(?!0)\d{1,3}(?:,\d{3})+(?!\d)|(?!0)\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?:[ ]\d{3})+(?!\d)"
    r"|\d{1,3}(?:_\d{3})+(?![\d_])|\d{1,3}(?:'\d{3})+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?![\d.])|\d+"
)
_DECIMAL = rf"\d{{1,3}}(?:\.\d{{3}})+,\d{{1,2}}(?!\d)|(?:{_INTEGER})(?:\.\d*)?|\.\d+"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?:[+-]\s?){{0,2}})
    (?:
        (?:(?P<whole>\d+)\s*)?
        \\frac\s*\{{\s*(?P<num>-?\s?(?:{_DECIMAL}))\s*\}}\s*\{{\s*(?P<den>-?\s?(?:{_DECIMAL}))\s*\}}
      | (?:(?P<mixed>\d+)\s+)? (?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})
      | (?P<base_digits>\d+)\s*_\s*(?:\{{\s*\(?(?P<base>\d{{1,2}})\)?\s*\}}|(?P<base_digit>\d{{1,2}})(?!\d))
      | (?P<fixed>\d*\.\d*)\s*\\overline\s*\{{\s*(?P<repeating>\d+)\s*\}}
      | (?P<begun>\d*\.\d+)\s*(?:\.\.\.|\\[lc]?dots(?![a-zA-Z]))
      | (?P<decimal>{_DECIMAL})
        (?:\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*(?P<exp_braced>[+-]?\d{{1,9}})\s*\}}|(?P<exp>[+-]?\d{{1,9}})(?!\d))
          | [eE](?P<e>[+-]?\d{{1,9}})(?![\d.])
          | \s*\^\s*(?:\{{\s*(?P<power_braced>[+-]?\d{{1,9}})\s*\}}|(?P<power>\d{{1,9}})(?!\d))
        )?
    )
    """,
    re.VERBOSE,
)
_PERCENT = re.compile(r"\s*(?:%|(?:\\text\s*\{\s*)?(?:per\s?cent(?:age)?|percentage points?|pct)\b\s*\}?)")
_OPENING_TEXT = re.compile(r"\s*\\text\s*\{\s*(?=[A-Za-z])")
_SCALE = re.compile(rf"\s*(\\text\s*\{{\s*)?({'|'.join(sorted(SCALES, key=len, reverse=True))})\b", re.IGNORECASE)
_AND_PART = re.compile(r"\s+and\s+((?:an?|one|two|three)[ -](?:half|halves|thirds?|quarters?|fourths?))\b")
_SIGNED_WORD = re.compile(r"(?:\\text\s*\{)?\s*(minus|negative)\s*\}?\s+(?=[\d.])", re.IGNORECASE)
_FEET_AND_INCHES = re.compile(r"(\d+)\s*'\s*(\d+(?:\.\d+)?)\s*(?:''|\"|\u201d)?")
_ARC = re.compile(r"\s*(\d+(?:\.\d+)?)\s*'(?!')(?:\s*(\d+(?:\.\d+)?)\s*(?:''|\"))?\s*")
_POINTS = re.compile(r"-?\s?[1-9]\d{0,2}\.\d{3}")
_COMMAS = re.compile(r"-?\s?[1-9]\d{0,2},\d{3}")
_MAX_PARTS = 4


def parse_exact(tidied: str) -> Exact | None:
    """Read an answer (normalised by ``normal.tidy``) as one number, or return None."""
    if not tidied or len(tidied) > MAX_DIGITS + 200:
        return None
    if tidied[0] == "(" and tidied[-1] == ")" and "," not in tidied and tidied.count("(") == 1:
        tidied = tidied[1:-1].strip()
    if signed := _SIGNED_WORD.match(tidied):
        tidied = "-" + tidied[signed.end() :]
    if "_" in tidied and (numeral := _in_some_base(tidied)):
        return numeral
    match = _NUMBER.match(tidied)
    if match is None:
        return _in_words(tidied)
    number = _value(match)
    if number is None:
        return None
    value, decimals, base = number
    written, rest = match[0], tidied[match.end() :]
    if not rest:
        return Exact(value, decimals, base=base, other=_other_value(written))
    return _with_rest(Exact(value, decimals, base=base, other=_other_value(written)), tidied, rest)


def _with_rest(number: Exact, tidied: str, rest: str) -> Exact | None:
    """Add what follows a number: a word such as "million", a percent sign, a unit, a second part."""
    if feet := _FEET_AND_INCHES.fullmatch(tidied):
        inches = int(feet[1]) * 12 + Fraction(feet[2])
        return Exact(inches, unit=read_unit(" inches"))
    if part := _AND_PART.match(rest):
        number = replace(number, value=number.value + (number_in_words(part[1]) or 0), decimals=None)
        rest = rest[part.end() :]
    if scale := _SCALE.match(rest):
        number = replace(number, value=number.value * SCALES[scale[2].lower()], decimals=None, other=None)
        rest = (r"\text{" if scale[1] else "") + rest[scale.end() :]
        rest = "" if rest.replace(" ", "") == r"\text{}" else rest
    percent = _PERCENT.match(rest)
    if percent is not None:
        if opened := _OPENING_TEXT.match(rest):
            rest = rest[: opened.start()] + rest[percent.end() :].lstrip("}")
        else:
            rest = rest[percent.end() :]
        number = replace(number, percent=True)
        of_what = rest.strip().startswith("of ") and not re.search(r"\d", rest)
        return number if of_what or not rest.strip(" }") or read_unit(rest) else None
    if not rest.strip():
        return number
    unit = read_unit(rest)
    if unit is not None:
        joined = unit.letter and not rest[:1].isspace()
        return replace(number, unit=unit, joined=joined)
    return _compound(number, rest)


def _compound(first: Exact, rest: str) -> Exact | None:
    r"""Read the rest of a number in parts: ``2 hours 30 minutes``, ``5 ft 8 in``, ``60^\circ 30'``."""
    total, value, unit = first.value, Fraction(0), None
    for _ in range(_MAX_PARTS):
        following = re.search(r"(?<!\^)(?<!\^\{)(?<!\d)\d", rest)
        text = rest[: following.start()] if following else rest
        text, rest = (_cut_conjunction(text), rest[len(text) :])
        own = read_unit(text if text.count("{") == text.count("}") else "")
        if own is None or not own.dimensions:
            return None
        if unit is None:
            unit = own
        else:
            factor = ratio(own, unit)
            if factor is None or factor >= 1:
                return None
            total += value * factor if first.value >= 0 else -value * factor
        if not rest:
            return Exact(total, unit=unit)
        if own.dimensions == (("degree", 1),) and (arc := _ARC.fullmatch(rest)):
            parts = Fraction(arc[1]) / 60 + Fraction(arc[2] or 0) / 3600
            return Exact(total + parts if first.value >= 0 else total - parts, unit=unit)
        match = _NUMBER.match(rest)
        number = _value(match) if match else None
        if match is None or number is None or number[2] is not None:
            return None
        value, rest = number[0], rest[match.end() :]
    return None


def _cut_conjunction(text: str) -> str:
    return re.sub(r"(?:,|\band|\\text\s*\{\s*(?:and|,)\s*\})\s*$|,?\s+and\s*(?=\}\s*$)", "", text)


def _in_words(tidied: str) -> Exact | None:
    text = tidied.removeprefix(r"\text").strip().removeprefix("{").removesuffix("}").strip()
    value = number_in_words(text) if text[:1].isalpha() and "\\" not in text else None
    if value is not None:
        return Exact(value)
    words = text.split()
    for count in range(len(words) - 1, 0, -1):
        value = number_in_words(" ".join(words[:count])) if len(words) <= _MAX_PARTS + 2 else None
        if value is not None:
            rest = " " + " ".join(words[count:]).removeprefix("of ").removeprefix("a ").removeprefix("an ")
            percent = _PERCENT.fullmatch(rest) is not None
            unit = None if percent else read_unit(rest)
            return Exact(value, percent=percent, unit=unit) if percent or unit else None
    return None


_NUMERAL = re.compile(r"([0-9A-Fa-f]{1,60}?)\s*_\s*\{?\s*(?:\\text\s*\{)?\s*\(?\s*(\d{1,2}|[a-z]{3,12})\s*\)?\s*\}*")
_TEXT_LETTER = re.compile(r"\\text\s*\{\s*([A-Fa-f])\s*\}")


def _in_some_base(tidied: str) -> Exact | None:
    r"""Read a numeral with letters or with its base in words: ``2A_{16}``, ``52_{\text{eight}}``."""
    found = _NUMERAL.fullmatch(_TEXT_LETTER.sub(r"\1", tidied))
    if found is None:
        return None
    named = Fraction(found[2]) if found[2].isdigit() else number_in_words(found[2])
    if named is None or not 2 <= named <= 36 or not found[1][0].isdigit():
        return None
    digits, base = found[1].upper(), int(named)
    return Exact(Fraction(int(digits, 36) if not digits.isdigit() else int(digits)), base=base, digits=digits)


def _other_value(written: str) -> Fraction | None:
    """The value of a numeral with commas and points exchanged: 1.234 is 1234, and 1,234 is 1.234."""
    if _POINTS.fullmatch(written):
        return Fraction(written.replace(".", "").replace(" ", ""))
    if _COMMAS.fullmatch(written):
        return Fraction(written.replace(",", ".").replace(" ", ""))
    return None


def _value(match: re.Match[str]) -> tuple[Fraction, int | None, int | None] | None:
    """The number of a match as (value, decimals, base); None if it is undefined or too large."""
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
    if match["begun"] is not None:
        value = _continued(match["begun"])
        return None if value is None else (sign * value, None, None)
    numeral = match["decimal"]
    value = _plain(numeral)
    decimals = (
        len(numeral.partition(".")[2]) if numeral.count(".") == 1 and "," not in numeral.partition(".")[2] else None
    )
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
    """The value of a numeral with separators; a European one has a comma after its points."""
    if "," in numeral and "." in numeral and numeral.rindex(",") > numeral.rindex("."):
        numeral = numeral.replace(".", "").replace(",", ".")
    text = re.sub(r"[,_' ]", "", numeral)
    if text.count(".") > 1:
        text = text.replace(".", "")
    return Fraction(text + "0" if text.endswith(".") else text)


_CYCLE = re.compile(r"(\d*?)(?:(\d)\2{2,}|(\d{2,6})\3+)")


def _continued(begun: str) -> Fraction | None:
    """The value of ``0.1666...``; None if the digits do not show which of them repeat."""
    whole, _, digits = begun.partition(".")
    cycle = _CYCLE.fullmatch(digits)
    if cycle is None:
        return None
    block = cycle[2] or cycle[3]
    tail: Fraction = Fraction(int(block), 10 ** len(block) - 1) / 10 ** len(cycle[1])
    return Fraction(f"{whole or 0}.{cycle[1]}0") + tail


def _power(base: Fraction, exponent: int) -> Fraction | None:
    if not base and exponent <= 0:
        return None
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    return None if size * abs(exponent) > MAX_BITS else base**exponent
