"""How long something may take here: a test machine may be shared with others."""

from __future__ import annotations

import os

SLACK_SECONDS = 1.0


def allowed(seconds: float) -> float:
    """The bound itself and a little slack, more where more processes want to run than there are cores."""
    crowding = os.getloadavg()[0] / (os.cpu_count() or 1)
    return (seconds + SLACK_SECONDS) * max(1.0, 2 * crowding)
