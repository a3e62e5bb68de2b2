"""A rank's sign of life: a file that it touches, and that the process which started the ranks looks at."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from misstep.errors import BadInput

ENVIRONMENT = "MISSTEP_HEARTBEAT"
"""Names the file of this process; without it nobody looks, and nothing is written."""

Phase = Literal["starting", "training", "writing"]
"""Libraries and weights are loaded; steps are done; a model is written. Only in training do signs come by the step."""


def beat(phase: Phase) -> None:
    """Say that this process is alive, and what it is about to do."""
    file = os.environ.get(ENVIRONMENT)
    if file:
        Path(file).write_text(phase)


def last_beat(file: Path, began: float) -> tuple[Phase, float]:
    """Return a rank's phase and when it last gave a sign, in seconds since the epoch; ``began`` before its first."""
    try:
        phase, at = file.read_text(), file.stat().st_mtime
    except FileNotFoundError:
        return "starting", began
    match phase:
        case "training" | "writing":
            return phase, at
        case _:  # a file that is being written is empty for a moment
            return "starting", at


def seconds_from(name: str, default: float) -> float:
    """Return the seconds that an environment variable gives, or the default. Raises BadInput."""
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
