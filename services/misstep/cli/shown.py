"""The training rows that a stage's summary keeps, for people to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from misstep.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


def print_shown(rows: Sequence[Mapping[str, Any]], out: Console) -> None:
    """Print each row's segments with a line above each that says whether its tokens carry loss."""
    from rich.text import Text

    out.print(Text("What the model was shown", style="bold"))
    for row in rows:
        out.print(Text(f"\nrow {row['row']:,}, {row['tokens']:,} tokens", style="bold"))
        for segment in row["segments"]:
            loss = "loss" if segment["loss"] else "no loss"
            out.print(Text(f"--- {segment['name']}, {segment['tokens']:,} tokens, {loss}", style="dim"))
            # Text would drop some control characters without a sign.
            out.print(Text(printable(segment["text"]), style="green" if segment["loss"] else ""), soft_wrap=True)
