"""SIGINT and SIGTERM while a run is on: noted, for the run's loop to act on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noting_signals(into: list[int]) -> Iterator[None]:
    """Put the numbers of the signals that come into a list, instead of what they did before; main thread only."""

    def note(number: int, _frame: FrameType | None) -> None:
        into.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
