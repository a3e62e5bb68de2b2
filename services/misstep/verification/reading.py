r"""Rewrite notation that math-verify's grammar reads differently from people.

The cases were found by parsing random expressions with known values (``tests/verification/test_reading.py``), with
math-verify 0.9.0:

- a number before a number in parentheses, before a binomial or before an improper fraction is added to it, as in a
  mixed number: ``2(3)``, ``(2)(3)``, ``3\binom{8}{1}`` and ``2\frac{3}{2}`` come out as 5, 5, 11 and 7/2;
- a slash divides by the whole product that follows: ``4/3\pi`` is 4/(3 pi);
- a function takes the product after its braces or its bare argument: ``\sin{x} \cdot 2`` is sin(2x);
- its own removal of units removes the variable from ``3 t`` and a summand from ``a + b + c``.
"""

from __future__ import annotations

import re

_NAMES = r"sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|lg|exp"
_FUNCTION = rf"\\(?:{_NAMES})(?![a-zA-Z])(?:\s*_\s*(?:\w|\{{\w+\}}))?(?:\s*\^\s*(?:\d|\{{-?\d+\}}))?"
_GREEK = r"\\(?:alpha|beta|gamma|theta|phi|pi|omega)(?![a-zA-Z])"
_BARE = rf"(?:\d+(?:\.\d+)?)?\s*(?:[a-zA-Z]|{_GREEK})|\d+(?:\.\d+)?(?:\s*\^\\circ)?"

_SLASH = (
    re.compile(rf"(/\s*(?:\d+|\([^()]*\)))\s*(?=[a-zA-Z(]|\\(?:pi|sqrt|frac|binom|{_NAMES})(?![a-zA-Z]))"),
    r"\1 \\cdot ",
)
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![\d./_^])(\d+) (\d+)/(\d+)(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"(?<![_^\d.])(\d[\d.]*|\\pi)\s*\((?=\s*-?\s*[\d\\.])", r"\1 \\cdot ("),
        (r"\)\s*(?=\()", r") \\cdot "),
        (r"(?<=[\d)!}])\s*(?=\\binom(?![a-zA-Z]))", r" \\cdot "),
        (rf"({_FUNCTION})\s*({_BARE})(?=\s*\\(?:cdot|times)(?![a-zA-Z]))", r"\1(\2)"),
    )
]
_IN_BRACES = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"
_BRACED_ARGUMENT = re.compile(rf"({_FUNCTION})\s*\{{({_IN_BRACES})\}}")
_MAX_NESTED_FUNCTIONS = 4
_BEFORE_FRACTION = re.compile(r"(?<=\d)\s*\\frac\{(\d{1,18})\}\{(\d{1,18})\}")
_CONJUGATE = re.compile(r"\\overline\s*\{([^{}\\]*(?<![a-zA-Z])\d*i(?![a-zA-Z])[^{}\\]*)\}")
_OTHER_LETTERS = re.compile(r"[a-hj-zA-Z]")
_CIS = re.compile(r"\\text\s*\{\s*cis\s*\}\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+\s*(?:\^\\circ)?|\\pi(?![a-zA-Z])))")


def spell_out(tidied: str) -> str:
    """Return the answer (normalised by ``normal.tidy``) in a form that math-verify reads correctly."""
    return _spell_out(_SLASH[0].sub(_SLASH[1], tidied))


def other_reading(tidied: str) -> str | None:
    """Return the answer with each slash dividing by everything after it; None if that is the same reading.

    ``1/2x`` is x/2 by the rules, but not always for its author.
    """
    return _spell_out(tidied) if _SLASH[0].search(tidied) else None


def spell_complex(tidied: str) -> str:
    r"""Write conjugates and ``\text{cis}`` with the imaginary unit, as sums that the parser knows."""
    return _CIS.sub(_cis, _CONJUGATE.sub(_conjugate, tidied)) if "i" in tidied else tidied


def _spell_out(text: str) -> str:
    for _ in range(_MAX_NESTED_FUNCTIONS):  # from the outside inwards
        text = _BRACED_ARGUMENT.sub(r"\1(\2)", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _BEFORE_FRACTION.sub(_product, text)


def _conjugate(line: re.Match[str]) -> str:
    return line[0] if _OTHER_LETTERS.search(line[1]) else f"({line[1].replace('i', '(-i)')})"


def _cis(written: re.Match[str]) -> str:
    angle = written[1] or written[2] or written[3]
    return rf"(\cos({angle})+i\sin({angle}))"


def _product(fraction: re.Match[str]) -> str:
    return fraction[0] if int(fraction[1]) < int(fraction[2]) else rf" \cdot {fraction[0].lstrip()}"
