"""The result of extracting an answer from a response."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class AnswerFormat(StrEnum):
    r"""How a response states its final answer.

    ``hash``: GSM8K's line ``#### 18``. ``boxed``: MATH's ``\boxed{18}``. ``auto``: the first of these two that is
    present, else the closing statement of free text (``The answer is **18**.``).
    """

    HASH = "hash"
    BOXED = "boxed"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer of a response.

    Attributes:
        answer: the final answer as written; None if there is none.
        rule: the form it was found in, or why there is none.
        others: further readings of the same response (all boxes of a list, the other numbers of the closing
            sentence). A response is not ``wrong`` if one of them equals the gold.
        prose: the end of a free text whose closing statement needs a parser, empty otherwise.
        sign: the dollar sign before the answer.
        all_boxes: all boxes of a response as a list, if they are not in a row and have different contents.
    """

    answer: str | None
    rule: str
    others: tuple[str, ...] = ()
    prose: str = ""
    sign: str = ""
    all_boxes: str = ""


AMOUNT = r"[-\u2212+]?\s?(?:\\?\$|[€£¥₹])?\s?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
NUMBER_LINE = re.compile(
    rf"{AMOUNT}(?:\s*/\s*\d[\d,]*|e[+-]?\d+)?\s?\\?%?(?:\.|\s?[A-Za-z\u00b0\\^][^\d\n=+*]{{0,40}}\d?\}}?)?"
)


def sign_of(raw: str, answer: str) -> str:
    """The dollar sign before an answer, unless it opens mathematics."""
    if "$" not in raw or not answer[:1].isdigit():
        return ""
    place = raw.find(f"${answer}")
    return r"\$" if place >= 0 and raw[place + 1 + len(answer) :][:1] != "$" else ""
