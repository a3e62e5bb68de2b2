"""Wait in a test until something holds: the one place where tests poll."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T],
    seconds: float = 20.0,
    why: Callable[[], object] = lambda: "it did not come to that in time",
    *,
    every: float = 0.05,
) -> T:
    """Call a condition again and again until what it returns is true, and return that.

    Args:
        condition: may raise, which ends the wait too.
        seconds: fail where it is not true by then.
        why: called then, for the message.
        every: seconds between two calls.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, why()
        time.sleep(every)
    return found
