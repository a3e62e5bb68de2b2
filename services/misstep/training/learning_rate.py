"""The learning rate of each step, as a share of its peak. Pure.

transformers' own schedules begin a warm-up with a rate of zero, so their first step trains nothing, and a run of one
step returns the starting model.
"""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine"]


def warmup_steps(steps: int, percent: int) -> int:
    """Return how many steps of a run come before the first one at the peak: at most all but the last."""
    return min(math.ceil(steps * percent / 100), steps - 1)


def rate_share(schedule: ScheduleName, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step relative to its peak, in (0, 1].

    With n steps, w of them warm-up, and s the step::

        s < w:     (s + 1) / (w + 1)
        constant:  1
        linear:    (n - s) / (n - w)
        cosine:    (1 + cos(pi (s - w) / (n - w))) / 2

    Args:
        step: counted from 0.
        steps: number of steps of the whole run.
        warmup: number of warm-up steps, less than ``steps``.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    left = (steps - step) / (steps - warmup)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return left
        case "cosine":
            return math.sin(math.pi / 2 * left) ** 2  # the same as above, and exact when the cosine is near -1
