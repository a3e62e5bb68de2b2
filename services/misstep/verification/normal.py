"""Normalise the spelling of an answer, without changing its value."""

from __future__ import annotations

import re

from misstep.verification.braces import closing
from misstep.verification.characters import plain_characters
from misstep.verification.decoration import without_decoration

MAX_ANSWER_CHARS = 4096
"""Anything longer is not a final answer (the longest gold of MATH has 159 characters)."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>")

_SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"(?<=\d)\s*(?:,\\!|\{,\}|\\,)\s*(?=\d{3}(?!\d))", ""),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\s*\.?(?=$|\W)", ""),
        (r"\\[hv]?phantom\s*(?:\{[^{}]*\}|[^a-zA-Z{\\])|\\displaystyle(?![a-zA-Z])|(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])|\\(?:thin)?space(?![a-zA-Z])", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\{\s*,\s*\}", ","),
        (r"\\%", "%"),
        (r"\\\$|\$|[€£¥₹]|\\pounds(?![a-zA-Z])\s*|\\euro(?![a-zA-Z])\s*", ""),
        (r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\s*\\degrees?(?![a-zA-Z])", r"^\\circ "),
        (r"\\leq(?![a-zA-Z])", r"\\le "),
        (r"\\geq(?![a-zA-Z])", r"\\ge "),
        (r"\\neq(?![a-zA-Z])", r"\\ne "),
        (r"\\geqslant(?![a-zA-Z])", r"\\ge "),
        (r"\\leqslant(?![a-zA-Z])", r"\\le "),
        (r"\\(?:lt)(?![a-zA-Z])", "<"),
        (r"\\(?:gt)(?![a-zA-Z])", ">"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"\\colon(?![a-zA-Z])", ":"),
        (r"^\\text\s*\{\s*(?:[Ff]inal\s+)?[Aa]nswer\s*[:=]\s*([^{}]*)\}", r"\\text{\1}"),
        (r"\\text\s*\{[\s.,]*\}", " "),
        (r"\{\s*([^{}\\]{1,20}?)\s*\\choose(?![a-zA-Z])\s*([^{}\\]{1,20}?)\s*\}", r"\\binom{\1}{\2}"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\vert(?![a-zA-Z])|\\[lr]vert(?![a-zA-Z])", "|"),
        (r"\\\{\s*\\\}", r"\\emptyset"),
        (r"\*\*", "^"),
        (r"\^\s*(-\d+|\d{2,})(?![\d.])", r"^{\1}"),
        (r"\^\s*\((-?\d+)\)", r"^{\1}"),
        (r"(\.\d*)\s*\\(?:bar|dot|overline)\s*(?:\{\s*(\d+)\s*\}|(\d))", r"\1\\overline{\2\3}"),
        (r"(\.)\((\d+)\)", r"\1\\overline{\2}"),
        (r"\\prime(?![a-zA-Z])", "'"),
        (r"\^\s*\{?\s*('+)\s*\}?", r"\1"),
        (r"(?<![a-zA-Z\\])sqrt(?=\s*[({])", r"\\sqrt"),
        (r"\s+", " "),
    ]
]
_CONTINUED = re.compile(r"(\.\d+)\s?\.\.\.")
_OPENERS = ("**", "$", "\\(", "\\[", "`", "*", "_", '"', "\u201c")
_CLOSERS = ("**", "$", "\\)", "\\]", "`", "*", "_", '"', "\u201d", ".", ",", ";", ":", "\\\\", "\\")


def without_special_tokens(text: str) -> str:
    """Remove chat and end-of-text tokens that decoding left in the text."""
    return _SPECIAL_TOKEN.sub(" ", text) if "<" in text else text


def unwrap(text: str) -> str:
    """Strip everything that only surrounds an answer: white space, markdown marks, math delimiters, a closing
    period."""
    text = text.strip()
    while not (text[:1].isalnum() and text[-1:].isalnum()):  # no mark is a letter or a digit
        before = text
        for mark in _OPENERS:
            if text.startswith(mark):
                text = text[len(mark) :].lstrip()
        for mark in _CLOSERS:
            if text.endswith(mark):
                text = text[: -len(mark)].rstrip()
        if text == before:
            break
    return text


def tidy(text: str) -> str:
    """Return the answer in normalised plain LaTeX, with single spaces; its value stays the same."""
    if "..." in text:
        text = _CONTINUED.sub(r"\1\\ldots ", text)
    text = unwrap(without_decoration(plain_characters(unwrap(text))))
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = _brace_arguments(_brace_roots(unwrap(text)))
    return _intervals(text) if text[:1] == "]" or text[-1:] == "[" else text


def _intervals(text: str) -> str:
    """Write intervals with reversed brackets for open ends, ``]2,5]``, as ``(2,5]``."""
    pieces = re.split(r"(\s*\\cup(?![a-zA-Z])\s*)", text)
    found = [_TURNED.fullmatch(piece) for piece in pieces[::2]]
    if not all(found):
        return text
    pieces[::2] = [f"{'(['[f[1] == '[']}{f[2]}{')]'[f[3] == ']']}" for f in found if f]
    return "".join(pieces)


_TURNED = re.compile(r"([\[\]])([^\[\]]*,[^\[\]]*)([\[\]])")


def _brace_roots(text: str) -> str:
    r"""Write ``\sqrt(...)`` as ``\sqrt{...}`` if the parentheses balance."""
    start = 0
    while (start := text.find(r"\sqrt", start)) >= 0:
        start += len(r"\sqrt")
        opening = start + (len(text[start:]) - len(text[start:].lstrip()))
        if text[opening : opening + 1] != "(":
            continue
        depth = 0
        for position in range(opening, len(text)):
            depth += {"(": 1, ")": -1}.get(text[position], 0)
            if depth == 0:
                inner = text[opening + 1 : position]
                text = f"{text[:start]}{{{inner}}}{text[position + 1 :]}"
                break
    return text


_COMMAND = re.compile(r"\\(frac|sqrt)(?![a-zA-Z])(\s*\[[^\[\]]*\])?")
_MAX_COMMANDS = 50
_ARGUMENT = re.compile(r"\s*(\\[a-zA-Z]+(?![a-zA-Z])|[0-9a-zA-Z])")


def _brace_arguments(text: str) -> str:
    r"""Write ``\frac12`` and ``\frac\pi 4`` as ``\frac{1}{2}`` and ``\frac{\pi}{4}``, which are equal in TeX.

    math-verify reads the second as the fraction of a backslash and a ``p``.
    """
    commands = list(_COMMAND.finditer(text))
    if len(commands) > _MAX_COMMANDS:
        return text
    for command in reversed(commands):  # inner arguments come first
        head, rest = text[: command.end()], text[command.end() :]
        for _ in range(2 if command[1] == "frac" else 1):
            if bare := _ARGUMENT.match(rest):
                if bare[1] in (r"\frac", r"\sqrt"):
                    break
                head, rest = f"{head}{{{bare[1]}}}", rest[bare.end() :]
            elif rest.lstrip().startswith("{") and (end := closing(rest.lstrip())) > 0:
                head, rest = head + rest.lstrip()[:end], rest.lstrip()[end:]
            else:
                break
        text = head + rest
    return text


_LONE_BRACES = re.compile(r"([\^_])\{([0-9A-Za-z])\}")
_TEXT = re.compile(r"\\text\s*\{\s*([^{}]*?)\s*\}")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")


def compact(tidied: str) -> str:
    """Return a key that is equal for two spellings of one expression.

    A space between two digits stays: ``1 1/2`` is not ``11/2``.
    """
    text = _LONE_BRACES.sub(r"\1\2", tidied)
    text = _TEXT.sub(r"\\text{\1}", text)
    return _SPACE.sub("", text)
