"""The known units: their names, dimensions, and exact factors."""

from __future__ import annotations

from fractions import Fraction

Dimensions = tuple[tuple[str, int], ...]
"""Base units with their powers, sorted."""

_INCH = Fraction(254, 10_000)
_FOOT = 12 * _INCH
_MILE = 5280 * _FOOT
_POUND = Fraction(45_359_237, 100_000)  # grams
_GALLON = 231 * _INCH**3


_SPEED = _MILE / 3600
_ROWS: tuple[tuple[str, str, Fraction | int], ...] = (
    # Singular names, base units with their powers, factor.
    ("m meter metre", "m", 1),
    ("km kilometer kilometre", "m", 1000),
    ("dm decimeter decimetre", "m", Fraction(1, 10)),
    ("cm centimeter centimetre", "m", Fraction(1, 100)),
    ("mm millimeter millimetre", "m", Fraction(1, 1000)),
    ("um micrometer micron \u03bcm", "m", Fraction(1, 10**6)),
    ("nm nanometer", "m", Fraction(1, 10**9)),
    ("in inch inche", "m", _INCH),
    ("ft foot feet", "m", _FOOT),
    ("yd yard", "m", 3 * _FOOT),
    ("mi mile", "m", _MILE),
    ("acre", "m^2", 43_560 * _FOOT**2),
    ("ha hectare", "m^2", 10_000),
    ("L l liter litre", "m^3", Fraction(1, 1000)),
    ("dl dL deciliter", "m^3", Fraction(1, 10**4)),
    ("cl cL centiliter", "m^3", Fraction(1, 10**5)),
    ("ml mL milliliter millilitre cc", "m^3", Fraction(1, 10**6)),
    ("gal gallon", "m^3", _GALLON),
    ("qt quart", "m^3", _GALLON / 4),
    ("pt pint", "m^3", _GALLON / 8),
    ("cup", "m^3", _GALLON / 16),
    ("floz", "m^3", _GALLON / 128),
    ("tbsp tablespoon", "m^3", _GALLON / 256),
    ("tsp teaspoon", "m^3", _GALLON / 768),
    ("g gram gramme gm", "g", 1),
    ("kg kilogram kilogramme kilo", "g", 1000),
    ("cg centigram", "g", Fraction(1, 100)),
    ("mg milligram milligramme", "g", Fraction(1, 1000)),
    ("mcg microgram", "g", Fraction(1, 10**6)),
    ("t tonne", "g", 10**6),
    ("ton", "ton", 1),
    ("lb pound", "g", _POUND),
    ("oz ounce", "g", _POUND / 16),
    ("s sec second", "s", 1),
    ("ms millisecond", "s", Fraction(1, 1000)),
    ("min minute", "s", 60),
    ("h hr hour", "s", 3600),
    ("day", "s", 86_400),
    ("wk week", "s", 604_800),
    ("month", "month", 1),
    ("yr year", "month", 12),
    ("decade", "month", 120),
    ("century centurie", "month", 1200),
    ("mph", "m s^-1", _SPEED),
    ("kph kmh kmph", "m s^-1", Fraction(1000, 3600)),
    ("fps", "m s^-1", _FOOT),
    ("mps", "m s^-1", 1),
    ("dollar usd buck \\$", "dollar", 1),
    ("cent penny pennie \u00a2", "dollar", Fraction(1, 100)),
    ("euro eur", "euro", 1),
    ("rupee inr", "rupee", 1),
    ("yen jpy", "yen", 1),
    ("yuan rmb", "yuan", 1),
    ("gbp", "gbp", 1),
    ("peso", "peso", 1),
    ("degree deg \u00b0", "degree", 1),
    ("arcmin arcminute", "degree", Fraction(1, 60)),
    ("arcsec arcsecond", "degree", Fraction(1, 3600)),
    ("radian rad", "radian", 1),
    ("celsius", "celsius", 1),
    ("fahrenheit", "fahrenheit", 1),
    ("unit", "unit", 1),
    ("bit", "bit", 1),
    ("byte", "bit", 8),
    ("bps", "bit s^-1", 1),
    ("revolution rev", "revolution", 1),
    ("rpm", "revolution s^-1", Fraction(1, 60)),
    ("N newton", "newton", 1),
    ("J joule", "joule", 1),
    ("kJ kilojoule", "joule", 1000),
    ("W watt", "watt", 1),
    ("kW kilowatt", "watt", 1000),
    ("V volt", "volt", 1),
    ("Pa pascal", "pascal", 1),
    ("kPa kilopascal", "pascal", 1000),
    ("Hz hertz", "hertz", 1),
    ("kHz kilohertz", "hertz", 1000),
    ("MHz megahertz", "hertz", 10**6),
    ("mol mole", "mole", 1),
    ("cal calorie", "calorie", 1),
    ("kcal kilocalorie", "calorie", 1000),
    ("ohm", "ohm", 1),
)


def _dimensions(bases: str) -> Dimensions:
    pairs = (base.partition("^") for base in bases.split())
    return tuple(sorted((name, int(power or 1)) for name, _, power in pairs))


UNITS: dict[str, tuple[Dimensions, Fraction]] = {
    name: (_dimensions(bases), Fraction(factor)) for names, bases, factor in _ROWS for name in names.split()
}
