r"""Sets of real numbers, in any notation: intervals, unions, inequalities, ``\{x \mid 2<x<5\}``, ``\mathbb{R}``.

Only worker processes import this module: math-verify parses the end points.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import sympy
from sympy import Basic, FiniteSet, Interval, Set, Union

from misstep.verification.answer import both_signs, without_outer_braces
from misstep.verification.braces import is_one_group, split_top

Parser = Callable[[str], Basic | None]

_MAX_PIECES = 12
_OR = re.compile(
    r"\s*,?\s*(?:\\text\s*\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\lor(?![a-zA-Z])|\\cup(?![a-zA-Z]))\s*"
)
_AND = re.compile(
    r"\s*,?\s*(?:\\text\s*\{\s*,?\s*and\s*\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\land(?![a-zA-Z])|\\cap(?![a-zA-Z]))\s*"
)
_VARIABLE = r"(?:[A-Za-z](?:\([a-z]\))?|\\(?:theta|alpha|beta|lambda|phi|mu|omega))"
_MEMBER = re.compile(rf"({_VARIABLE})\s*\\in(?![a-zA-Z])\s*")
_SIGN = re.compile(r"(<=|>=|<|>|=|\\(?:le|ge|ne)(?![a-zA-Z])|\\not\s*=)")
_BUILDER = re.compile(
    rf"\\\{{\s*({_VARIABLE})\s*(?:\\in\s*\\mathbb\s*\{{R\}})?\s*(?:\\mid|\||:|\\vert)\s*(.*)\\\}}", re.DOTALL
)
_LINE = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|\\text\s*\{\s*(?:all\s+)?real numbers\s*\}|(?:all\s+)?real numbers")
_WITHOUT = re.compile(r"(.*?)\s*(?:\\setminus(?![a-zA-Z])|\\backslash(?![a-zA-Z])|(?<=\})\s*-)\s*(\\\{.*\\\})")
_EXCLUDED = re.compile(rf"({_VARIABLE})\s*(?:\\ne(?![a-zA-Z])|\\not\s*=)\s*([^<>=]*)")
_ABSOLUTE = re.compile(
    rf"\|\s*(?P<variable>{_VARIABLE})\s*(?P<shift>[-+]\s*[^|<>=]+)?\|\s*(?P<sign><=|>=|<|>|\\[lg]e(?![a-zA-Z]))\s*(?P<size>[^<>=|]+)"
)
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers and the variable of its notation, empty if there was none."""

    variable: str
    numbers: Set


def read_region(tidied: str, parse: Parser) -> Region | None:
    """Read an answer (normalised by ``normal.tidy``) as a set of real numbers; None for anything else.

    A comma between inequalities means "and", or separates two branches if these have nothing in common.
    """
    reader = _Reader(parse)
    try:
        numbers = reader.union(tidied)
    except _NoRegion:
        return None
    if len(reader.variables) > 1:
        return None
    return Region(next(iter(reader.variables), ""), numbers)


class _NoRegion(Exception):
    pass


class _Reader:
    def __init__(self, parse: Parser) -> None:
        self.parse = parse
        self.variables: set[str] = set()

    def union(self, text: str) -> Set:
        text = without_outer_braces(text.strip())
        if builder := _BUILDER.fullmatch(text):
            self.variables.add(builder[1])
            return self.union(builder[2])
        pieces = _OR.split(text)
        if len(pieces) > _MAX_PIECES or not all(pieces):
            raise _NoRegion
        return Union(*(self.meet(piece) for piece in pieces))

    def meet(self, text: str) -> Set:
        pieces = _AND.split(text)
        if not all(pieces):
            raise _NoRegion
        found = [self.commas(piece) for piece in pieces]
        return found[0] if len(found) == 1 else sympy.Intersection(*found)

    def commas(self, text: str) -> Set:
        if excluded := _EXCLUDED.fullmatch(text):
            self.variables.add(excluded[1])
            points = [self.number(sign) for part in split_top(excluded[2], ",") for sign in both_signs(part)]
            return sympy.S.Reals - FiniteSet(*points)
        if member := _MEMBER.match(text):
            parts = split_top(text, ",")
        else:
            parts = split_top(text, ",") if _SIGN.search(text) and not is_one_group(text) else [text]
        if len(parts) == 1:
            return self.piece(text)
        if len(parts) > _MAX_PIECES or not all(parts):
            raise _NoRegion
        sets = [self.piece(part) for part in parts]
        if member is None and not any(_SIGN.search(part) for part in parts):
            raise _NoRegion
        common = sympy.Intersection(*sets)
        if common is sympy.S.EmptySet:
            return Union(*sets)
        if len(sets) > 1 and any(common == one for one in sets) and not any(one is sympy.S.Reals for one in sets):
            raise _NoRegion  # "x > 2, x > 5" is ambiguous
        return common

    def piece(self, text: str) -> Set:
        text = without_outer_braces(text.strip())
        if member := _MEMBER.match(text):
            self.variables.add(member[1])
            return self.union(text[member.end() :])
        if _LINE.fullmatch(text):
            return sympy.S.Reals
        if without := _WITHOUT.fullmatch(text):
            return self.piece(without[1]) - self.piece(without[2])
        if text == r"\emptyset":
            return sympy.S.EmptySet
        if text.startswith("\\{") and text.endswith("\\}"):
            return FiniteSet(*(self.number(part) for part in split_top(text[2:-2], ",")))
        if text[:1] in "([" and text[-1:] in ")]" and is_one_group(text):
            return self.interval(text)
        return self.chain(text)

    def interval(self, text: str) -> Set:
        ends = split_top(text[1:-1], ",")
        if len(ends) == 1:
            return self.union(text[1:-1])
        if len(ends) != 2:
            raise _NoRegion
        left, right = (self.number(end) for end in ends)
        if not (left < right):
            raise _NoRegion
        return Interval(left, right, text[0] == "(", text[-1] == ")")

    def chain(self, text: str) -> Set:
        """``2 < x``, ``5 > x > 2``, ``x \\ne 4``, ``|x| < 3``: one variable between numbers."""
        if absolute := _ABSOLUTE.fullmatch(text):
            return self.distance(absolute)
        parts = [part.strip() for part in _SIGN.split(text)]
        sides, signs = parts[::2], [_plain_sign(sign) for sign in parts[1::2]]
        named = [side for side in sides if re.fullmatch(_VARIABLE, side)]
        if len(named) != 1 or not signs or len(signs) > 2:
            raise _NoRegion
        place = sides.index(named[0])
        self.variables.add(named[0])
        found: list[Set] = []
        for position, sign in enumerate(signs):
            if position == place:  # the variable on the left
                found.append(_ray(sign, self.number(sides[position + 1])))
            elif position + 1 == place:
                found.append(_ray(_TURNED.get(sign, sign), self.number(sides[position])))
            else:
                raise _NoRegion
        if len(found) == 2 and "ne" in signs:
            raise _NoRegion
        return found[0] if len(found) == 1 else sympy.Intersection(*found)

    def distance(self, found: re.Match[str]) -> Set:
        """The numbers with a bounded distance from a point: ``|x - 1| < 3``."""
        self.variables.add(found["variable"])
        size, sign = self.number(found["size"]), _plain_sign(found["sign"])
        center = -self.number(found["shift"].replace(" ", "")) if found["shift"] else sympy.Integer(0)
        if not size > 0 or sign not in _TURNED:
            raise _NoRegion
        inside = Interval(center - size, center + size, sign in ("<", ">="), sign in ("<", ">="))
        return inside if sign in ("<", "<=") else sympy.S.Reals - inside

    def number(self, text: str) -> Basic:
        value = self.parse(re.sub(r"\+\s*\\infty", r"\\infty", text.strip()))
        if value is None or value.free_symbols or not getattr(value, "is_extended_real", False):
            raise _NoRegion
        return sympy.nsimplify(value, rational=True) if value.has(sympy.Float) else value


def _plain_sign(sign: str) -> str:
    if sign.startswith("\\not"):
        return "ne"
    return {"\\le": "<=", "\\ge": ">=", "\\ne": "ne"}.get(sign, sign)


def _ray(sign: str, end: Basic) -> Set:
    """The numbers for which ``x sign end`` holds."""
    if sign == "=":
        return FiniteSet(end)
    if sign == "ne":
        return sympy.S.Reals - FiniteSet(end)
    if sign in ("<", "<="):
        return Interval(-sympy.oo, end, True, sign == "<")
    return Interval(end, sympy.oo, sign == ">", True)


def same_region(a: Set, b: Set) -> bool | None:
    """Whether two sets contain the same numbers; None if their ends cannot be compared."""
    if a == b:
        return True
    difference = sympy.SymmetricDifference(a, b)
    if difference is sympy.S.EmptySet:
        return True
    ends = [_ends(side) for side in (a, b)]
    if ends[0] is None or ends[1] is None:
        return None
    if len(ends[0]) != len(ends[1]):
        return False
    for (x, x_open), (y, y_open) in zip(ends[0], ends[1], strict=True):
        if x_open != y_open:
            return False
        if x != y and not (x.is_finite and y.is_finite and abs((x - y).evalf(40)) < sympy.Float("1e-25")):
            return False
    return True


def _ends(numbers: Set) -> list[tuple[Basic, bool]] | None:
    """The ends of a union of intervals and points, in order, each with whether it is excluded."""
    parts = numbers.args if isinstance(numbers, Union) else (numbers,)
    found: list[tuple[Basic, Basic, bool, bool]] = []
    for part in parts:
        if isinstance(part, Interval):
            found.append((part.start, part.end, bool(part.left_open), bool(part.right_open)))
        elif isinstance(part, FiniteSet):
            found.extend((point, point, False, False) for point in part.args)
        elif part is not sympy.S.EmptySet:
            return None
    found.sort(key=lambda item: sympy.Float(item[0].evalf(30)) if item[0].is_finite else item[0])
    return [end for start, stop, left, right in found for end in ((start, left), (stop, right))]
