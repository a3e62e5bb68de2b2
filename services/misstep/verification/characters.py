"""Unicode characters used instead of LaTeX: digits, signs, fractions, powers and roots."""

from __future__ import annotations

import re

_SIGNS = {
    "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\ufe63": "-",
    "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ", "\u3000": " ",
    "\u200b": "", "\u00ad": "", "\u2060": "", "\ufeff": "", "\u200e": "", "\u2061": "",
    "\u00d7": r"\times ", "\u00f7": "/", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2219": r"\cdot ",
    "\u2044": "/", "\u2215": "/", "\u2236": ":", "\u2217": "*",
    "\u221e": r"\infty ", "\u00b0": r"^\circ ", "\u00ba": r"^\circ ", "\u00b1": r"\pm ", "\u2213": r"\mp ",
    "\u2264": r"\le ", "\u2265": r"\ge ", "\u2a7d": r"\le ", "\u2a7e": r"\ge ", "\u2260": r"\ne ",
    "\u2248": r"\approx ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ",
    "\u2216": r"\setminus ", "\u2228": r"\lor ", "\u2227": r"\land ", "\u2223": r"\mid ", "\u2220": r"\angle ",
    "\u211d": r"\mathbb{R}", "\u2124": r"\mathbb{Z}", "\u2026": r"\ldots ", "\u22ef": r"\ldots ",
    "\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u2329": r"\langle ", "\u232a": r"\rangle ",
    "\u2032": "'", "\u2019": "'", "\u2018": "'", "\u2033": '"', "\u3002": ".", "\u3001": ",",
    "\u00a3": "\u00a3", "\u00a2": r"\text{ cents}", "\uffe0": r"\text{ cents}",
    "\u2713": "", "\u2714": "", "\u2705": "",
    "\u212f": "e", "\u2147": "e", "\u2148": "i",
}  # fmt: skip
_GREEK = dict(
    zip(
        "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b8\u03bb\u03bc\u03c0\u03c1\u03c3\u03c4\u03c6\u03d5\u03c9\u0394\u03a9",
        re.findall(
            r"\w+",
            """alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi phi omega Delta Omega""",
        ),
        strict=True,
    )
)
_FRACTIONS = {
    "\u00bd": (1, 2), "\u00bc": (1, 4), "\u00be": (3, 4), "\u2153": (1, 3), "\u2154": (2, 3), "\u2155": (1, 5),
    "\u2156": (2, 5), "\u2157": (3, 5), "\u2158": (4, 5), "\u2159": (1, 6), "\u215a": (5, 6), "\u2150": (1, 7),
    "\u215b": (1, 8), "\u215c": (3, 8), "\u215d": (5, 8), "\u215e": (7, 8), "\u2151": (1, 9), "\u2152": (1, 10),
}  # fmt: skip
_WIDE = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)}
WIDE = str.maketrans({**_WIDE, "\u3002": ".", "\u3000": " "})
"""Full-width letters, digits and signs, and the Chinese full stop."""

_TABLE = str.maketrans(
    _WIDE
    | _SIGNS
    | {letter: rf"\{name} " for letter, name in _GREEK.items()}
    | {sign: rf"\frac{{{over}}}{{{under}}}" for sign, (over, under) in _FRACTIONS.items()}
)
_RAISED = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a\u207f\u2071", "0123456789-+ni"
)
_LOWERED = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_RAISED_RUN = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b\u207a\u207f\u2071]+")
_LOWERED_RUN = re.compile("[\u2080-\u2089]+")
_ROOT = re.compile(r"([\u221a\u221b\u221c])\s*(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])|\\pi\b)?")
_RAISED_ROOT = re.compile("(?<![\\w)}\\]])([\u00b3\u2074])\u221a")
_HIGHER_ROOTS = {"\u00b3": "\u221b", "\u2074": "\u221c"}
"""The index of a root as a raised digit; after a number or a letter that digit is a power."""
_ROOTS = {"\u221a": r"\sqrt", "\u221b": r"\sqrt[3]", "\u221c": r"\sqrt[4]"}


def plain_characters(text: str) -> str:
    r"""Write Unicode mathematics as LaTeX.

    A root sign takes the whole number or the letter after it; before a bracket it becomes ``\sqrt`` with the bracket as
    its argument.
    """
    if text.isascii():
        return text
    text = _RAISED_ROOT.sub(lambda sign: _HIGHER_ROOTS[sign[1]], text)
    text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_RAISED)}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{run[0].translate(_LOWERED)}}}", text)
    text = text.translate(_TABLE)
    return _ROOT.sub(lambda sign: _ROOTS[sign[1]] + (f"{{{sign[2]}}}" if sign[2] else ""), text)
