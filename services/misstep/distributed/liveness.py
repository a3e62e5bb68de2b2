"""Liveness of ranks: each rank writes its phase to a file, and the process that started the ranks reads its age."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from misstep.errors import BadInput

ENVIRONMENT = "MISSTEP_LIVENESS"
"""Names the file of this process; if it is not set, nothing is written."""

Phase = Literal["starting", "training", "writing"]
"""Loading libraries and weights; training steps; writing a model. Only ``training`` is written at every step."""


def report_alive(phase: Phase) -> None:
    """Write that this process is alive, and what it does next."""
    file = os.environ.get(ENVIRONMENT)
    if file:
        Path(file).write_text(phase)


def last_alive(file: Path, began: float) -> tuple[Phase, float]:
    """Return a rank's phase and the time of its last report, in seconds since the epoch (``began`` before any)."""
    try:
        phase, at = file.read_text(), file.stat().st_mtime
    except FileNotFoundError:
        return "starting", began
    match phase:
        case "training" | "writing":
            return phase, at
        case _:  # the file is empty for a moment while it is written
            return "starting", at


def seconds_from(name: str, default: float) -> float:
    """Return the seconds in an environment variable, or the default. Raises BadInput."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise BadInput(name, text, "Give a number of seconds.")
    return seconds
