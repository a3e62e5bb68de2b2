r"""Units of measurement: which words are units, what they measure, and how they convert.

A unit is a product of powers of base units with an exact factor: ``km/h`` is ``m^1 s^-1`` with factor 5/18. Words that
are not a known unit (``12 apples``) are kept as words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from misstep.verification.numerals import NUMBER_WORDS
from misstep.verification.unit_table import UNITS, Dimensions


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit after a number; for a currency sign, before it.

    Attributes:
        dimensions: base units with their powers, sorted; empty for words that are not a known unit.
        factor: the value of this unit in base units.
        words: the nouns of an unknown unit, in singular.
        letter: whether it is one bare letter, which may also be a variable.
    """

    dimensions: Dimensions = ()
    factor: Fraction = Fraction(1)
    words: tuple[str, ...] = ()
    letter: bool = False


_CASED = frozenset(name for name in UNITS if name != name.lower()) | {"m", "g", "s", "h", "l", "t"}
_BARE_LETTERS = frozenset("mgshLJWVN")
"""One letter after a number and a space that is more likely a unit than a variable."""
_NOISE = frozenset(
    re.findall(
        r"\w+",
        """left remaining total altogether overall all each tall long wide deep high thick away old apart later
        earlier ago worth only exactly now again extra combined longer""",
    )
)
_NOT_NOUNS = frozenset(
    re.findall(
        r"\w+",
        """and or to plus minus times over mod modulo if when where is are was were with by not pi sqrt sin cos
        tan cot sec csc log ln exp inf infinity max min lim of xor multiplied divided more less fewer than
        greater smaller between until squared cubed factorial twice double choose but so which then because
        since that for from as equals equal percent half halves third thirds quarter quarters add added
        subtract subtracted per the
        be been am do does did has have had will would can could may might must should         too very""",
    )
)
_TOKEN = re.compile(
    r"\s*(?:(?P<power>\^\s*\{?\s*(?P<exponent>-?\d)\s*\}?)|(?P<per>/|\bper\b|\ban?\b|\bevery\b|\bin\b(?=\s+(?:an?|one)\b))"
    r"|(?P<degree>\^\\circ\s?(?P<scale>[CF](?![a-z]))?)|(?P<dot>\\cdot|\*|-)"
    r"|(?P<word>\\\$|[A-Za-z\u03bc\u00a2]+)\.?)"
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_POWER_OF_LETTER = re.compile(r"[A-Za-z]\s*\^\s*\{?\s*-?\d\s*\}?")
_PHRASES = re.compile(r"\bin (?:total|all|the end|sum)\b|\bon average\b", re.IGNORECASE)
_FLUID = re.compile(r"\b(?:fluid (?:ounces?|oz)|fl\.? ?oz)\b", re.IGNORECASE)
_MAX_CHARS = 80


@lru_cache(maxsize=4096)
def read_unit(behind: str) -> Unit | None:
    r"""Read the text after a number (normalised by ``normal.tidy``); None if it is neither a unit nor a noun.

    ``\text{ cm}^2``, `` km/h``, `` dollars per hour``, ``^\circ C``, `` apples left``.
    """
    if len(behind) > _MAX_CHARS:
        return None
    marked = r"\text" in behind
    text = " ".join(_TEXT.sub(r" \1 ", behind).replace("{", "{ ").split())
    bare = text.strip(" .")
    if len(bare) == 1 and not marked:
        return _known(bare, letter=True) if bare in _BARE_LETTERS else None
    unit = _read(_FLUID.sub("floz", _PHRASES.sub(" ", text)).strip(), marked)
    if unit is not None and not marked and _POWER_OF_LETTER.fullmatch(bare):
        return replace(unit, letter=True) if bare[0] in _BARE_LETTERS else None
    return unit


def _read(text: str, marked: bool) -> Unit | None:
    position, powers, factor = 0, dict[str, int](), Fraction(1)
    sign, next_power, last = 1, 1, None
    unknown: list[str] = []
    while position < len(text.rstrip(" .")):
        token = _TOKEN.match(text, position)
        if token is None or token.end() == position:
            return None
        position = token.end()
        if token["power"]:
            if last is None:
                return None
            factor = _multiply(powers, factor, last, sign * (int(token["exponent"]) - 1))
            last = None
        elif token["per"] and (powers or unknown):
            if unknown:
                return Unit(words=(*unknown, "per", *text[position:].split()[:3]))
            sign, last = -1, None
        elif token["per"]:
            rest = text[position:].split()[:2]
            return Unit(words=("per", *rest)) if rest and rest[0].isalpha() and len(rest[0]) > 1 else None
        elif token["dot"]:
            last = None
        elif token["degree"]:
            name = {"C": "celsius", "F": "fahrenheit", None: "degree"}[token["scale"]]
            last, factor = UNITS[name], _multiply(powers, factor, UNITS[name], sign)
        else:
            outcome = _word(token["word"], powers)
            if outcome == "noise":
                continue
            if outcome == "stop":
                return None
            if outcome == "rest":
                break
            if isinstance(outcome, int):
                if last is not None and token["word"].lower().endswith("ed"):
                    factor, last = _multiply(powers, factor, last, sign * (outcome - 1)), None
                else:
                    next_power = outcome
            elif isinstance(outcome, tuple):
                if unknown:
                    continue
                factor = _multiply(powers, factor, outcome, sign * next_power)
                last, next_power = outcome, 1
            elif not powers:
                unknown.append(outcome)
            else:
                break  # "cups of flour", "dollars earned": what is measured, not its unit
    if powers.get("degree") and len(powers) > 1:
        for scale in ("celsius", "fahrenheit"):
            if powers.pop(scale, 0):
                powers = {scale: 1}
    if powers:
        return Unit(tuple(sorted((name, power) for name, power in powers.items() if power)), factor)
    if unknown and (marked or text[:1].isalpha() or unknown):
        return Unit(words=tuple(unknown))
    return None


def _word(word: str, powers: dict[str, int]) -> str | int | tuple[Dimensions, Fraction]:
    """The kind of a word: a power, a known unit, a noun, ``noise``, the ``rest`` of a known unit, or ``stop``."""
    lowered = word.lower()
    if lowered in ("square", "sq", "squared"):
        return 2
    if lowered in ("cubic", "cu", "cubed"):
        return 3
    if lowered == "of" and powers:
        return "rest"
    if lowered in _NOT_NOUNS or lowered in NUMBER_WORDS:
        return _lookup(word) or "stop"
    found = _lookup(word)
    if found is not None:
        return found
    if lowered in _NOISE or lowered in ("in", "per", "us", "u", "s", "about"):
        return "noise"
    if len(word) < 2:
        return "stop"
    return _singular(lowered)


def _lookup(word: str) -> tuple[Dimensions, Fraction] | None:
    if word in UNITS:
        return UNITS[word]
    lowered = word.lower()
    if word in _CASED or len(word) == 1:
        return None
    if lowered in UNITS:
        return UNITS[lowered]
    singular = _singular(lowered)
    return UNITS.get(singular) if len(singular) > 1 and singular not in _CASED else None


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def _known(name: str, letter: bool) -> Unit | None:
    found = UNITS.get(name)
    return None if found is None else Unit(found[0], found[1], letter=letter)


def _multiply(powers: dict[str, int], factor: Fraction, unit: tuple[Dimensions, Fraction], power: int) -> Fraction:
    for name, own in unit[0]:
        powers[name] = powers.get(name, 0) + own * power
    return factor * unit[1] ** power


def ratio(unit: Unit, other: Unit) -> Fraction | None:
    """Return the conversion factor to the other unit; None if they do not convert."""
    if unit.dimensions and unit.dimensions == other.dimensions:
        return unit.factor / other.factor
    if unit.words and set(unit.words) & set(other.words):
        return Fraction(1)
    return None


def generic_clash(unit: Unit | None, other: Unit | None) -> bool:
    """Whether "square units" are compared with a unit that is not an area, and the like."""
    if unit is None or other is None or is_generic(unit) == is_generic(other):
        return False
    generic, known = (unit, other) if is_generic(unit) else (other, unit)
    power = generic.dimensions[0][1]
    return power > 1 and known.dimensions != (("m", power),)


def is_generic(unit: Unit | None) -> bool:
    """Whether a number has no unit, or only the word "units"."""
    return unit is None or {name for name, _ in unit.dimensions} == {"unit"}
