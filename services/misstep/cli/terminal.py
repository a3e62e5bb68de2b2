"""What commands print: whatever the text, a terminal does nothing but show it.

Names, messages and texts come from stores, clusters, models and data sets. Colours and moves of the cursor are ours.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from misstep.printable import printable, printable_lines


class SafeConsole(Console):
    """A console that takes no text for markup or emoji, and puts a visible sign in place of control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def say(text: str, *, end: str = "\n") -> None:
    """Print text of others to standard output."""
    sys.stdout.write(printable_lines(text) + end)
    sys.stdout.flush()


def run_and_show(command: Sequence[str]) -> int:
    """Run a program whose output is text of others, show it as it comes, and return its exit code."""
    # The caller's command line, never text from elsewhere; no shell.
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=_pump, args=(process.stderr, sys.stderr), daemon=True)
        errors.start()
        try:
            _pump(process.stdout, sys.stdout)
        except BaseException:  # nobody reads any more, as behind `| head`
            process.terminate()
            raise
        errors.join()
    return process.returncode


def _pump(source: IO[str], target: IO[str]) -> None:
    for line in source:
        target.write(printable_lines(line))
        target.flush()
