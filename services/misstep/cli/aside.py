"""What a command says beside its output."""

from __future__ import annotations

import sys

from misstep.printable import printable


def aside(text: str) -> None:
    """Print a line to standard error, with control characters replaced."""
    sys.stderr.write(f"{printable(text)}\n")
