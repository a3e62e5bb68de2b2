"""Text of models and data sets, made harmless for terminals and pages."""

from __future__ import annotations

import json
import re
from typing import Any

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters (C0 and C1), which HTML forbids and terminals obey, and marks that turn the direction of the text
that follows or begin a line that no file has. Tabs and newlines are none of them."""


def printable(text: object) -> str:
    """Put a visible sign in place of control and direction marks."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text).replace("\r\n", "\n"))


def printable_lines(text: str) -> str:
    """Like `printable`, for what programs print: a carriage return alone, by which progress bars begin a line anew,
    begins a new line."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))


def printable_json(data: Any) -> str:
    """Return JSON text in which control and direction marks are escaped: it reads as the same data."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def printable_values(value: Any) -> Any:
    """Return JSON-like data with `printable` put in place of all text in it; objects of other kinds by their text."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): printable_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [printable_values(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else printable(value)
