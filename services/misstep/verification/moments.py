"""Times of day, dates and ratios: ``10:30 AM``, ``noon``, ``2024-03-05``, ``March 5th``, ``3:4``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from misstep.verification.exact import Match

_HALF_DAY = 12 * 3600
_MERIDIEM = r"(?:\\text\s*\{)?\s*(?P<half>[ap])\.?\s?m\b\.?\s*\}?"
_COLONS = re.compile(
    rf"(?:\\text\s*\{{\s*)?(?P<parts>\d{{1,9}}(?:\s*:\s*\d{{1,9}}){{1,5}})\s*(?:{_MERIDIEM})?\s*\}}?", re.IGNORECASE
)
_HOUR = re.compile(rf"(?:\\text\s*\{{\s*)?(?P<hour>\d{{1,2}})\s*(?:o'clock\s*)?{_MERIDIEM}\s*\}}?", re.IGNORECASE)
_PART = r"\d{1,9}(?:\.\d{1,9})?|\\frac\s*\{\d{1,9}\}\s*\{\d{1,9}\}"
_FRACTIONS = re.compile(rf"(?:{_PART})(?:\s*:\s*(?:{_PART})){{1,5}}")
_NAMED = {"noon": 12, "midday": 12, "midnight": 0, "12 noon": 12, "12:00 noon": 12, "12 midnight": 0}
_WORD_RATIO = re.compile(r"(\d{1,9})\s*(?:\\text\s*\{\s*)?\s*to\s*\}?\s*(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Clock:
    """Numbers between colons: a time of day, or a ratio.

    Attributes:
        parts: the numbers, of which all but the first have two digits in a time.
        half: ``a`` or ``p`` for a time before or after noon; empty if not given.
        is_time: whether it can be a time of day.
        is_ratio: whether it can be a ratio.
        in_words: whether it is written ``3 to 4``, which may also be a range.
    """

    parts: tuple[int, ...]
    half: str = ""
    is_time: bool = True
    is_ratio: bool = True
    in_words: bool = False


def read_clock(body: str) -> Clock | None:
    """Read a time of day or a ratio; None for anything else."""
    text = body.strip()
    if found := _COLONS.fullmatch(text):
        pieces = [piece.strip() for piece in found["parts"].split(":")]
        parts, half = tuple(map(int, pieces)), (found["half"] or "").lower()
        two_digits = all(len(piece) == 2 and int(piece) < 60 for piece in pieces[1:])
        is_time = len(parts) <= 3 and two_digits and parts[0] < 25
        if half and (not is_time or parts[0] > 23):
            return None
        return Clock(parts, half, is_time, not half)
    if found := _HOUR.fullmatch(text):
        return Clock((int(found["hour"]), 0), found["half"].lower(), True, False) if int(found["hour"]) < 24 else None
    if found := _WORD_RATIO.fullmatch(text):
        return Clock((int(found[1]), int(found[2])), is_time=False, in_words=True)
    if _FRACTIONS.fullmatch(text) and (whole := _whole_parts(text)):
        return Clock(whole, is_time=False)
    named = " ".join(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text).strip(" .").lower().split())
    if named in _NAMED:
        return Clock((12, 0), "p" if _NAMED[named] else "a", True, False)
    return None


def _whole_parts(text: str) -> tuple[int, ...] | None:
    r"""Convert a ratio of decimals or fractions to whole numbers: ``0.5:1`` and ``\frac12:1`` are 1:2."""
    pieces = [re.sub(r"\\frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1/\2", piece.strip()) for piece in text.split(":")]
    try:
        parts = [Fraction(piece) for piece in pieces]
    except ZeroDivisionError:
        return None
    common = lcm(*(part.denominator for part in parts))
    return tuple(int(part * common) for part in parts)


def compare_clocks(pred: Clock, gold: Clock) -> Match:
    """Compare two times or ratios.

    If only one side has AM or PM, equal digits are EQUAL. ``8:34`` and ``20:34`` are UNKNOWN, because the first may be
    in the evening. Ratios are equal in lowest terms, unless both may be times.
    """
    if pred.parts == gold.parts and pred.half == gold.half:
        return Match.EQUAL
    if pred.is_time and gold.is_time and (pred.half or gold.half or not _proportional(pred, gold)):
        return _compare_times(pred, gold)
    if not (pred.is_ratio and gold.is_ratio) or len(pred.parts) != len(gold.parts):
        return Match.UNKNOWN
    if not _proportional(pred, gold):
        return Match.DIFFERENT
    return Match.UNKNOWN if pred.is_time and gold.is_time else Match.EQUAL


def compare_ratio(ratio: Clock, value: Fraction, *, whole: bool) -> Match:
    """Compare a ratio with a number: ``3:4`` is 3/4 as a fraction; a whole number is UNKNOWN."""
    if not ratio.is_ratio or ratio.is_time or ratio.in_words or len(ratio.parts) != 2 or not ratio.parts[1] or whole:
        return Match.UNKNOWN
    return Match.EQUAL if Fraction(*ratio.parts) == value else Match.UNKNOWN


def _compare_times(pred: Clock, gold: Clock) -> Match:
    a, b = _seconds(pred), _seconds(gold)
    if a == b and (pred.half == gold.half or not (pred.half and gold.half)):
        return Match.EQUAL
    if pred.half and gold.half:
        return Match.DIFFERENT
    if a % _HALF_DAY != b % _HALF_DAY:
        return Match.DIFFERENT
    # Equal on a clock face: "3:45" may be "3:45 PM", but "15:45" is never "3:45 AM".
    said, bare = (pred, gold) if pred.half else (gold, pred)
    if said.half and 1 <= bare.parts[0] <= 12:
        return Match.EQUAL
    return Match.DIFFERENT if said.half else Match.UNKNOWN


def _seconds(clock: Clock) -> int:
    hours, *rest = clock.parts
    if clock.half and hours <= 12:
        hours = hours % 12 + (12 if clock.half == "p" else 0)
    minutes, seconds = (*rest, 0, 0)[:2]
    return hours * 3600 + minutes * 60 + seconds


def _proportional(a: Clock, b: Clock) -> bool:
    return len(a.parts) == len(b.parts) and all((*a.parts, *b.parts)) and _lowest(a.parts) == _lowest(b.parts)


def _lowest(parts: tuple[int, ...]) -> tuple[int, ...]:
    common = gcd(*parts)
    return tuple(part // common for part in parts)


_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
            "september sep sept", "october oct", "november nov", "december dec",
        ), 1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_DAY = r"(?:the\s+)?(?P<day>\d{1,2})(?:\s*(?:st|nd|rd|th)\b)?"
_WEEKDAY = re.compile(r"(?:on\s+)?(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?", re.IGNORECASE)
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_MONTH}\s+{_DAY}(?:,?\s+(?P<year>\d{{4}}))?",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?",
        r"(?P<year>\d{4})-(?P<number>\d{1,2})-(?P<day>\d{1,2})",
        r"(?P<year>\d{4})/(?P<number>\d{1,2})/(?P<day>\d{1,2})",
    )
]
_LONGEST_DATE = 60
_MAY_BE_DATE = re.compile(r"\d.*[A-Za-z]{3}|[A-Za-z]{3}.*\d|\d[-/.]\d{1,2}[-/.]\d")
_ORDERLESS = re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})")


@dataclass(frozen=True, slots=True)
class Date:
    """A day: ``year`` is None if it is not given; ``month`` is None if it cannot be distinguished from the day."""

    year: int | None
    month: int | None
    day: int


def read_date(body: str) -> Date | None:
    """Read a date; None for anything else."""
    if len(body) > _LONGEST_DATE or not _MAY_BE_DATE.search(body):
        return None
    text = re.sub(r"\^?\s*\{?\s*\\text\s*\{([^{}]*)\}\s*\}?", r"\1", body).strip(" .")
    text = " ".join(text.replace(" ,", ",").split())
    text = text[match.end() :] if (match := _WEEKDAY.match(text)) else text
    for pattern in _DATES:
        if found := pattern.fullmatch(text):
            fields = found.groupdict()
            month = _MONTHS[fields["month"].lower()] if fields.get("month") else int(fields["number"])
            day = int(fields["day"])
            if not (1 <= month <= 12 and 1 <= day <= 31):
                return None
            return Date(int(fields["year"]) if fields.get("year") else None, month, day)
    if found := _ORDERLESS.fullmatch(text):
        return Date(int(found[3]), None, int(found[2]))
    return None


def compare_dates(pred: Date, gold: Date) -> Match:
    """Compare two days; a year that one side omits is ignored, ``3/5/2024`` is UNKNOWN."""
    if pred.month is None or gold.month is None:
        return Match.UNKNOWN
    if (pred.month, pred.day) != (gold.month, gold.day):
        return Match.DIFFERENT
    return Match.EQUAL if pred.year is None or gold.year is None or pred.year == gold.year else Match.DIFFERENT
