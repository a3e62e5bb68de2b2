"""What commands print: whatever the text, a terminal does nothing but show it.

Names, messages and texts come from stores, clusters, models and data sets. Colours and moves of the cursor are ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from misstep.printable import printable, printable_lines

_WIDE = 220


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


def console(*, stderr: bool = False) -> Console:
    """A console for results, of which no text acts on a terminal.

    Where no terminal says how wide it is, lines are as long as they need to be.
    """
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDE
    return SafeConsole(width=wide, stderr=stderr)


def plain_table(*columns: str, keep: int = 1) -> Table:
    """A table without lines, whose first ``keep`` columns never break."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < keep)
    return table


def print_shown(rows: Sequence[Mapping[str, Any]], out: Console) -> None:
    """Print each row's segments with a line above each that says whether its tokens carry loss."""
    out.print(Text("What the model was shown", style="bold"))
    for row in rows:
        out.print(Text(f"\nrow {row['row']:,}, {row['tokens']:,} tokens", style="bold"))
        for segment in row["segments"]:
            loss = "loss" if segment["loss"] else "no loss"
            out.print(Text(f"--- {segment['name']}, {segment['tokens']:,} tokens, {loss}", style="dim"))
            # Text would drop some control characters without a sign.
            out.print(Text(printable(segment["text"]), style="green" if segment["loss"] else ""), soft_wrap=True)
