"""What an answer's place in a response says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class AnswerFormat(StrEnum):
    r"""How a response states its final answer.

    ``hash``: GSM8K's line ``#### 18``. ``boxed``: MATH's ``\boxed{18}``. ``auto``: the first of these two that is
    there, else the closing statement of free text (``The answer is **18**.``).
    """

    HASH = "hash"
    BOXED = "boxed"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a response gives as its answer.

    Attributes:
        answer: the final answer as written, None where there is none.
        rule: the form it was found in, or why there is none.
        others: further readings of the same response (all boxes of a list, the other numbers of the closing
            sentence). A response is not ``wrong`` while one of them equals the gold.
        prose: the end of a free text whose closing statement needs a parser, empty otherwise.
        sign: the sign of dollars that stood before the answer.
        all_boxes: all boxes of a response as a list, where they do not stand in a row and hold different things.
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
    """The dollars that stood before an answer and are not the opening of mathematics."""
    if "$" not in raw or not answer[:1].isdigit():
        return ""
    place = raw.find(f"${answer}")
    return r"\$" if place >= 0 and raw[place + 1 + len(answer) :][:1] != "$" else ""
