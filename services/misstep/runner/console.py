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
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    wide = None if terminal or os.environ.get("COLUMNS") else _WIDE
    # FORCE_COLOR, which notebooks set, makes a file no terminal on which the cursor moves.
    interactive = None if terminal else False
    return SafeConsole(width=wide, stderr=stderr, force_jupyter=False, force_interactive=interactive)
