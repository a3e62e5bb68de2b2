r"""A parsed final answer: a number, a time, a date, an option, words, a list, or an expression for algebra."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from misstep.verification.braces import closing, is_one_group, split_top
from misstep.verification.choice import Choice, read_choice
from misstep.verification.exact import Exact
from misstep.verification.moments import Clock, Date, read_clock, read_date
from misstep.verification.normal import MAX_ANSWER_CHARS, compact, tidy
from misstep.verification.quantity import parse_exact
from misstep.verification.units import Unit, read_unit
from misstep.verification.words import read_words


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer and what could be read from it without algebra.

    Attributes:
        tidied: the answer in normalised plain LaTeX.
        key: spelling without spaces; equal keys are equal answers.
        variable: the name left of the equals sign (or of the signs for "about" and "in"); empty if there is none.
        body: the other side of the sign, or the whole answer.
        number: the answer as one number, without its variable (``x = 4``).
        clock: a time of day or a ratio.
        date: a day.
        choice: an option of a multiple-choice question.
        words: the words of a plain text answer.
        brackets: the brackets around a list: empty for a bare list, ``matrix 2x2`` and the like for a matrix.
        elements: the parts of a list; None if the answer is not a list.
        listed: the alternative reading of a number with commas as a list (``120,300``).
    """

    tidied: str
    key: str
    variable: str = ""
    body: str = ""
    number: Exact | None = None
    clock: Clock | None = None
    date: Date | None = None
    choice: Choice | None = None
    words: tuple[str, ...] | None = None
    brackets: str = ""
    elements: tuple[Answer, ...] | None = None
    listed: Answer | None = None

    def is_plain(self) -> bool:
        """Return whether this answer can be understood without algebra."""
        if self.elements is not None:
            return all(element.is_plain() for element in self.elements)
        read = (self.number, self.words, self.clock, self.date, self.choice)
        return any(reading is not None for reading in read)


_INTEGER = re.compile(r"-?[0-9]{1,18}")
_LABEL = (
    r"[A-Za-z](?:'|_\s*(?:\w|\{[^{}]{1,12}\}))?(?:\s*\([a-zA-Z0-9](?:\s*,\s*[a-zA-Z0-9])?\))?"
    r"|\\(?:alpha|beta|gamma|theta|phi|lambda|mu|omega|delta|Delta|sigma|rho|tau)(?:_\w|_\{\w+\})?"
)
_NAME = (
    r"(?:\\(?:angle|triangle|vec|overline|overrightarrow|overleftrightarrow|widehat|hat|operatorname)|m\s*\\angle)\s*"
    r"(?:\{[A-Za-z ]{1,12}\}|[A-Za-z]{1,4})|\\text\s*\{[A-Za-z][^{}]{0,40}\}(?:\s*\([A-Za-z]\))?|[A-Z]{2,4}"
    r"|[A-Z][a-z]{2,20}"
    r"|\(\s*[a-z]\s*(?:,\s*[a-z]\s*){1,3}\)"
)
_ASSIGNMENT = re.compile(rf"({_LABEL}|{_NAME}|)\s*(?:=|\\approx(?![a-zA-Z])|:=|\\in(?![a-zA-Z]))\s*(?=[^=\s])")
_REVERSED = re.compile(rf"([^=<>]+?)\s*=\s*({_LABEL})")
PLAIN_VARIABLE = re.compile(r"[A-Za-z](?:_\w+|_\{\w+\})?|\\[a-z]+")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_CONJUNCTION = re.compile(
    r",?\s*\\text\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}\s*|,?\s+(?:and|or)\s+|\s*;\s*|,?\s*\\(?:lor|land)(?![a-zA-Z])\s*"
)
_BRACKETS = (("(", ")"), ("[", "]"), ("(", "]"), ("[", ")"), ("\\{", "\\}"), ("\\langle", "\\rangle"))
_MATRIX = re.compile(r"\\begin\s*\{([pbB]?(?:small)?matrix)\}(.*)\\end\s*\{\1\}", re.DOTALL)
_LINES = re.compile(
    r"\\begin\s*\{(aligned|align\*?|gathered|split|cases|array)\}(?:\{[lcr| ]*\})?(.*)\\end\s*\{\1\}", re.DOTALL
)
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])\s*")
_MINUS_PLUS = re.compile(r"\\mp(?![a-zA-Z])\s*")
_SEPARATED = re.compile(r",|;|\\text|\b(?:and|or)\b")
_GROUPED = re.compile(r"-?\d{1,3}(?:,\d{3})+|-?\d{1,2}(?:,\d{2})+,\d{3}")
_CURRENCY = re.compile(
    r"^[-\u2212+(]?\s?(?:(\\?US)?(\\\$|\$)|(\u20ac)|(\u00a3)|(\u20b9)|(\u00a5))\s?-?(?=[\d.])"
    r"|\\(pounds)\s*(?=[\d.])|^(?:(Rs\.?|INR)|(USD|US\s?\\?\$)|(EUR))\s*(?=[\d.])"
)
_CURRENCY_BEHIND = re.compile(r"\d\s?(?:(\\\$)|(\u20ac)|(\u00a3)|(\u20b9)|(\u00a5))\s*$")
_LETTER_PREFIX = re.compile(r"^(?:Rs\.?|INR|USD|US(?=\s?\\?\$)|EUR)\s*(?=[\d.\\$])")
_COMPLEX_ELEMENTS = 256
_MAX_DEPTH = 3


@lru_cache(maxsize=8192)
def read_answer(answer: str) -> Answer:
    """Read an extracted or gold answer; at most ``MAX_ANSWER_CHARS`` characters of it are used."""
    if _INTEGER.fullmatch(answer):
        return Answer(answer, answer, body=answer, number=Exact(Fraction(int(answer))))
    answer = answer[:MAX_ANSWER_CHARS].strip()
    return read_tidied(tidy(_LETTER_PREFIX.sub("", answer)), currency=_currency(answer))


def _currency(answer: str) -> Unit | None:
    r"""The unit of a currency sign, which ``tidy`` removes; a ``$`` that opens mathematics does not count."""
    found = _CURRENCY.match(answer)
    if found is None:
        behind = _CURRENCY_BEHIND.search(answer)
        names = zip(("dollars", "euros", "gbp", "rupees", "yen"), behind.groups() if behind else (), strict=False)
        return next((read_unit(f" {name}") for name, sign in names if sign), None)
    if found[2] == "$" and answer.count("$") > 1:
        return None
    names = zip(
        ("", "dollars", "euros", "gbp", "rupees", "yen", "gbp", "rupees", "dollars", "euros"),
        found.groups(),
        strict=True,
    )
    return next((read_unit(f" {name}") for name, sign in names if name and sign), None)


def read_tidied(tidied: str, depth: int = 0, currency: Unit | None = None) -> Answer:
    """Read an answer that is already normalised, and the parts of a list in the same way."""
    tidied = without_outer_braces(tidied)
    key = compact(tidied)
    if currency is not None:
        number = parse_exact(tidied)
        if number is not None and number.unit is None:
            return Answer(tidied, key, body=tidied, number=_with_unit(number, currency))
    choice = read_choice(tidied)
    variable, body = _take_variable(tidied)
    if variable and "=" in body and _SEPARATED.search(body):
        variable, body = "", tidied  # "x=1, y=2" names its parts, not itself
    only_text = _TEXT.fullmatch(body)
    plain = only_text[1].strip() if only_text else body
    clock = read_clock(body)
    date = read_date(plain) if clock is None else None
    number = parse_exact(plain) if clock is None and date is None else None
    if number is not None:
        listed = _listed(body, depth) if "," in body else None
        return Answer(tidied, key, variable, body, number, choice=choice, listed=listed)
    if clock is not None or date is not None:
        return Answer(tidied, key, variable, body, clock=clock, date=date, choice=choice)
    words = None if variable else read_words(body)
    if words is not None or depth >= _MAX_DEPTH:
        return Answer(tidied, key, variable, body, words=words, choice=choice)
    brackets, elements = _elements(body, depth)
    return Answer(tidied, key, variable, body, choice=choice, brackets=brackets, elements=elements)


def _with_unit(number: Exact, unit: Unit) -> Exact:
    return Exact(number.value, number.decimals, number.percent, unit, number.base, number.other)


def _take_variable(tidied: str) -> tuple[str, str]:
    """Split ``x = 4`` and ``4 = x`` into the name and the rest; the name is empty if there is none."""
    variable, body = "", tidied
    if assigned := _ASSIGNMENT.match(tidied):
        variable, body = compact(assigned[1]), tidied[assigned.end() :]
    elif (turned := _REVERSED.fullmatch(tidied)) and parse_exact(turned[1]) is not None:
        variable, body = compact(turned[2]), turned[1]
    return variable, without_outer_braces(body)


def without_outer_braces(body: str) -> str:
    """Remove braces around a whole answer."""
    while body.startswith("{") and body.endswith("}") and closing(body) == len(body):
        body = body[1:-1].strip()
    return body


def _listed(body: str, depth: int) -> Answer | None:
    if not _GROUPED.fullmatch(body):
        return None
    parts = tuple(read_tidied(part.strip(), depth + 1) for part in body.split(","))
    return Answer(body, compact(body), body=body, elements=parts)


def _elements(body: str, depth: int) -> tuple[str, tuple[Answer, ...] | None]:
    """Split a list or matrix into brackets and parts; None if it is neither."""
    if matrix := _MATRIX.fullmatch(body):
        rows = [split_top(row, "&") for row in re.split(r"\\\\", matrix[2]) if row.strip()]
        if not rows or len({len(row) for row in rows}) != 1 or not all(cell for row in rows for cell in row):
            return "", None
        cells = tuple(read_tidied(cell, depth + 1) for row in rows for cell in row)
        return f"matrix {len(rows)}x{len(rows[0])}", cells
    if lines := _LINES.fullmatch(body):
        body = re.sub(r",?\s*\\\\(?:\[[^\]]*\])?\s*", ", ", lines[2].replace("&", " ").strip().rstrip("\\")).strip(" ,")
    if body.startswith("(") and body.endswith(")") and r"\begin" in body and is_one_group(body):
        return _elements(body[1:-1].strip(), depth)
    brackets, parts = _split(body)
    if r"\pm" in body or r"\mp" in body:
        parts = [sign for part in parts or [body] for sign in both_signs(part)]
    if parts is None or len(parts) > _COMPLEX_ELEMENTS:
        return brackets, None
    elements = tuple(read_tidied(part, depth + 1) for part in parts)
    if brackets == "[]" and all(element.brackets == "[]" for element in elements):
        widths = {len(element.elements or ()) for element in elements}
        if len(widths) == 1 and 0 not in widths:
            cells = tuple(cell for element in elements for cell in element.elements or ())
            return f"matrix {len(elements)}x{widths.pop()}", cells
    return brackets, elements


def both_signs(part: str) -> list[str]:
    r"""Expand ``3 \pm \sqrt{5}`` to two answers."""
    if r"\pm" not in part and r"\mp" not in part:
        return [part]
    upper = _PLUS_MINUS.sub("+", _MINUS_PLUS.sub("-", part))
    lower = _PLUS_MINUS.sub("-", _MINUS_PLUS.sub("+", part))
    return [upper.removeprefix("+").strip(), lower]


def _split(body: str) -> tuple[str, list[str] | None]:
    """The brackets of a list and its parts; None if there is only one part."""
    brackets = ""
    for opening, ending in _BRACKETS:
        if body.startswith(opening) and body.endswith(ending) and (opening == "\\langle" or is_one_group(body)):
            brackets, body = opening + ending, body[len(opening) : -len(ending)]
            break
    if brackets == "\\langle\\rangle":
        brackets = "<>"
    if r"\begin" in body:
        return brackets, None
    parts = split_top(_CONJUNCTION.sub(",", body), ",")
    alone = len(parts) < 2 and brackets not in ("\\{\\}", "[]")
    return brackets, None if alone or not all(parts) else parts
