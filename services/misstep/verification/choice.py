r"""Multiple choice: the letter of an option, alone or with the option's text (``\textbf{(B)}\ 12``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FONT = re.compile(r"\\text\s*\{\s*(\(?\s*[A-J]\s*[).:]?)\s*\}")
_MARKED = re.compile(
    r"(?:(?:\\text\s*\{)?\s*(?:option|choice|answer|letter)\s*\}?\s*:?\s*)?"
    r"(?:\(\s*(?P<round>[A-Ja-j])\s*\)|\[\s*(?P<square>[A-J])\s*\](?=\s*$)|(?P<bare>[A-J])\s*(?P<mark>[).:](?!\s*\d*\s*:)))\s*(?P<content>.*)",
    re.DOTALL | re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?:\\text\s*\{)?\s*(?:option|choice|letter)\s*\}?\s*(?:\\text\s*\{)?\s*\(?\s*(?P<letter>[A-Ja-j])\s*\)?\s*\}?[.:]?",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?:\\text\s*\{)?\s*([A-J])\s*\}?")
_OTHER_LETTER = re.compile(r"\(?\s*[A-Za-z]\s*\)?")
_BEGINS = re.compile(r"-\s*[\d.\\a-z]|[(\[].*,")
_CONTINUES = re.compile(r"\s*(?:[-+*/^_=<>,(\[]|\\(?:cdot|times|cup|cap|in|le|ge|ne)(?![a-zA-Z]))")


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: its letter in upper case, and its text, empty if only the letter is given.

    ``sure`` is False for a bare capital letter, which may also be a variable.
    """

    letter: str
    content: str = ""
    sure: bool = True


def read_choice(tidied: str) -> Choice | None:
    """Read an answer (normalised by ``normal.tidy``) as an option; None for anything else."""
    if len(tidied) > 400 or not tidied:
        return None
    if named := _NAMED.fullmatch(tidied):
        return Choice(named["letter"].upper())
    text = _FONT.sub(r"\1 ", tidied).strip()
    if letter := _LETTER.fullmatch(text):
        return Choice(letter[1], sure=False)
    if text.startswith(r"\text") and (inner := re.fullmatch(r"\\text\s*\{([^{}]*)\}(.*)", text, re.DOTALL)):
        text = f"{inner[1].strip()} {inner[2]}".strip()
    found = _MARKED.fullmatch(text)
    if found is None:
        return None
    option: str = found["round"] or found["square"] or found["bare"]
    content = found["content"].strip()
    if _OTHER_LETTER.fullmatch(content) or (_CONTINUES.match(content) and not _BEGINS.match(content)):
        return None  # a ratio of letters, a product, a sum
    if option.islower():
        return None if content else Choice(option.upper(), sure=False)
    return Choice(option, content)
