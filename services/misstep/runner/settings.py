"""How a run on one machine is to go."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.runner.launch import ENTRY
from misstep.runner.schedule import Capacity


@dataclass(frozen=True)
class Settings:
    """How to run."""

    capacity: Capacity
    retries: int = 1
    keep_going: bool = False
    isolate: bool = False
    grace_seconds: float = 10.0
    """Between SIGTERM and SIGKILL when a run is stopped."""
    poll_seconds: float = 0.5
    entry: str = ENTRY
