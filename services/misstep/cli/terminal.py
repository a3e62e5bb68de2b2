"""Printing, so that no text can control the terminal.

Names, messages and texts come from stores, clusters, models and data sets: control characters in them are replaced.
Only this program sets colours and moves the cursor.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from misstep.printable import printable, printable_lines
from misstep.runner.console import SafeConsole, console

__all__ = ["SafeConsole", "console", "plain_table", "print_shown", "run_and_show", "say"]


def say(text: str, *, end: str = "\n") -> None:
    """Print text from elsewhere to standard output, with control characters replaced."""
    sys.stdout.write(printable_lines(text) + end)
    sys.stdout.flush()


def run_and_show(command: Sequence[str]) -> int:
    """Run a program, print its output as it comes, with control characters replaced, and return its exit code."""
    # Arguments come from the caller's command line only; no shell.
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=_pump, args=(process.stderr, sys.stderr), daemon=True)
        errors.start()
        try:
            _pump(process.stdout, sys.stdout)
        except BaseException:  # nobody reads the output any more, as with `| head`
            process.terminate()
            raise
        errors.join()
    return process.returncode


def _pump(source: IO[str], target: IO[str]) -> None:
    for line in source:
        target.write(printable_lines(line))
        target.flush()


def plain_table(*columns: str, keep: int = 1) -> Table:
    """Return a table without lines, whose first ``keep`` columns are never wrapped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < keep)
    return table


def print_shown(rows: Sequence[Mapping[str, Any]], out: Console) -> None:
    """Print the segments of training rows, each below a line that says whether its tokens carry loss."""
    out.print(Text("What the model was shown", style="bold"))
    for row in rows:
        out.print(Text(f"\nrow {row['row']:,}, {row['tokens']:,} tokens", style="bold"))
        for segment in row["segments"]:
            loss = "loss" if segment["loss"] else "no loss"
            out.print(Text(f"--- {segment['name']}, {segment['tokens']:,} tokens, {loss}", style="dim"))
            # Text would drop some control characters silently.
            out.print(Text(printable(segment["text"]), style="green" if segment["loss"] else ""), soft_wrap=True)
