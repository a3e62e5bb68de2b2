"""What ``misstep credit`` prints: lines, one line of progress, and the result."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from misstep.cli.terminal import say
from misstep.text import duration_text

EVERY_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""


class Progress:
    """Prints progress on standard error: on a terminal one line that changes, elsewhere a line from time to time."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._began = self._printed = time.monotonic()
        self._open = False
        self._blocks = ""

    def say(self, text: str) -> None:
        """Print a line of results."""
        self._end()
        say(text)

    def update(self, what: str, done: int, most: int) -> None:
        """Show how far the run is."""
        now = time.monotonic()
        if what == "blocks":
            self._blocks = f"{done:,} of {most:,} blocks, "
        elif now - self._printed < (0.2 if self._live else EVERY_SECONDS):
            return
        self._printed = now
        text = f"{self._blocks}{done:,} of at most {most:,} {what}" if what != "blocks" else self._blocks.rstrip(", ")
        line = f"{duration_text(now - self._began)}: {text}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        sys.stderr.flush()
        self._open = self._live

    def result(self, summary: dict[str, Any], out: Path) -> None:
        """Print the result."""
        credit = summary["credit"]
        why = ", ".join(f"{count:,} {reason}" for reason, count in credit.get("no_pit", {}).items())
        self.say(
            f"{credit.get('negatives', 0):,} wrong responses credited: {credit.get('pits', 0):,} pits"
            + (f", without a pit {why}" if why else "")
        )
        self.say(
            f"{credit.get('rollouts', 0):,} rollouts, {credit.get('generated_tokens', 0):,} generated tokens, "
            f"{credit.get('pairs', 0):,} pairs"
        )
        if positives := credit.get("positives", {}).get("responses"):
            self.say(f"{positives:,} correct responses credited: {credit['positives']['lucky']:,} with a lucky step")
        if labels := summary.get("labels"):
            shown = {name: _percent(labels[name]) for name in ("accuracy_wrong", "accuracy_correct", "f1")}
            self.say(
                f"against the labels: {shown['accuracy_wrong']} on {labels['wrong']:,} wrong, "
                f"{shown['accuracy_correct']} on {labels['correct']:,} correct, F1 {shown['f1']}; "
                f"{labels['left_out']:,} left out"
            )
            self.say(labels["meaning"])
        self.say(f"written to {out}")

    def _end(self) -> None:
        if self._open:
            sys.stderr.write("\n")
            self._open = False


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}%"
