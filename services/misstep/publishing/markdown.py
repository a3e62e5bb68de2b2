"""Text in Markdown that cannot become markup: names, notes and templates come from data sets and from other people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from misstep.printable import printable

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$!@])")
_LINK = re.compile(r"(:)(?=//)|(?<=www)(\.)", re.IGNORECASE)
_BLOCK = re.compile(r"^([-+=]|\d+[.)](?=\s|$))")
"""What makes a list or a heading of a line that begins with it."""
_TICKS = re.compile(r"`+")


def plain(text: object) -> str:
    """Return text for the middle of a line: without line breaks, and with everything escaped that Markdown, HTML or the
    Hub would read as more than text (links, mentions and formulas too)."""
    line = " ".join(printable(text).split())
    line = _MARKUP.sub(r"\\\1", line)
    line = _LINK.sub(lambda found: f"\\{found[0]}", line)
    return _BLOCK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def fenced(text: str, language: str = "") -> str:
    """Return a block of code that nothing in the text can end."""
    body = printable(text).rstrip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(body)), default=0))
    return f"{fence}{language}\n{body}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    lines = [header, ["---"] * len(header), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
