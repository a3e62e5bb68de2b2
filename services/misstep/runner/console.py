"""The console of everything that is printed, so that no text can control the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from misstep.printable import printable

_WIDE = 220


class SafeConsole(Console):
    """A console that reads no markup or emoji in text, and replaces control characters by a visible sign."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Return a console for results.

    Where the width of the terminal is not known, lines are as long as they need to be. In a notebook they are text.
    """
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDE
    return SafeConsole(width=wide, stderr=stderr, force_jupyter=False)
