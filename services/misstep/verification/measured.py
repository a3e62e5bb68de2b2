r"""Expressions followed by a unit: ``2\pi cm``, ``9\pi\text{ cm}^2``, ``4\sqrt{3} m``."""

from __future__ import annotations

import re

from misstep.verification.units import Unit, generic_clash, is_generic, ratio, read_unit

_TEXT_UNIT = re.compile(
    r"(?P<body>.*?[\w)}\]!|'])\s*(?P<unit>(?:\\text\s*\{[^{}]*\}\s*(?:\^\s*\{?\s*-?\d\s*\}?)?\s*/?\s*)+)$", re.DOTALL
)
_BARE_UNIT = re.compile(
    r"(?P<body>.*?(?:[\d)}\]!]|\\pi|(?<![A-Za-z])[a-z]))(?P<unit>\s+(?:sq\.? |cu\.? |square |cubic )?[A-Za-z]+\.?"
    r"(?:\s*\^\s*\{?\s*-?\d\s*\}?)?(?:\s*(?:/|\s)\s*[A-Za-z]+\.?(?:\s*\^\s*\{?\s*-?\d\s*\}?)?){0,4})$",
    re.DOTALL,
)
_DEGREES = re.compile(r"\^\\circ\s*$")


def without_unit(tidied: str) -> tuple[str, Unit | None]:
    """Split an expression (normalised by ``normal.tidy``) from its unit; None if there is none."""
    if len(tidied) > 400:
        return tidied, None
    for pattern in (_TEXT_UNIT, _BARE_UNIT):
        found = pattern.fullmatch(tidied)
        if found is None or _DEGREES.search(found["body"]):
            continue
        unit = read_unit(found["unit"])
        if unit is None:
            continue
        if pattern is _BARE_UNIT and not unit.dimensions and not re.search(r"[A-Za-z]{4}", found["unit"]):
            continue
        return found["body"].strip(), unit
    return tidied, None


def in_unit_of(body: str, unit: Unit, wanted: Unit) -> str | None:
    """Write an expression in another unit; None if the units do not convert."""
    if generic_clash(unit, wanted):
        return None
    if is_generic(unit) or is_generic(wanted):
        return body
    factor = ratio(unit, wanted)
    if factor is None:
        return None
    if factor == 1:
        return body
    return rf"({body}) \cdot \frac{{{factor.numerator}}}{{{factor.denominator}}}"
