"""A rank's heartbeat: a file that the rank touches, and that the process which started the ranks checks."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from misstep.errors import BadInput

ENVIRONMENT = "MISSTEP_HEARTBEAT"
"""The variable that names the file of this process; without it nobody checks, and nothing is written."""

Phase = Literal["starting", "training", "writing"]
"""Loading libraries and weights; training steps; writing a model. Only the training phase gives a sign of life at each
step."""


def beat(phase: Phase) -> None:
    """Record that this process is alive, and what it does next."""
    file = os.environ.get(ENVIRONMENT)
    if file:
        Path(file).write_text(phase)


def last_beat(file: Path, began: float) -> tuple[Phase, float]:
    """Return a rank's phase and the time of its last sign of life, in seconds since the epoch; ``began`` before its
    first."""
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
