"""Text of models and data sets, made harmless for terminals and pages."""

from __future__ import annotations

import json
import re
from typing import Any

_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters (C0 and C1), which HTML forbids and terminals interpret; marks that change the direction of the
text; and Unicode line separators. Tabs and newlines are not included."""


def printable(text: object) -> str:
    """Replace control characters and direction marks by a visible character."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text).replace("\r\n", "\n"))


def printable_lines(text: str) -> str:
    """Like `printable`, for the output of programs: a carriage return alone, with which progress bars overwrite a line,
    becomes a line break."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))


def printable_json(data: Any) -> str:
    """Return JSON text with control characters and direction marks escaped: it parses to the same data."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def printable_values(value: Any) -> Any:
    """Return JSON-like data with `printable` applied to all text in it; other objects are converted to text first."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): printable_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [printable_values(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else printable(value)
