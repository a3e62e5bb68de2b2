"""When requests may be sent: evenly spaced by the two rates, and not before a server's Retry-After."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pacer:
    """Spaces requests so that no minute has more requests or tokens than allowed. For one event loop.

    Args:
        requests_per_minute, tokens_per_minute: None for no limit.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rates = (requests_per_minute, tokens_per_minute)
        self._clock, self._sleep = clock, sleep
        self._next = self._paused_until = clock()

    async def turn(self, tokens: int) -> None:
        """Wait until a request with this many tokens may be sent. Requests are served in the order of their calls."""
        requests_per_minute, tokens_per_minute = self._rates
        start = max(self._clock(), self._next)
        apart = 60.0 / requests_per_minute if requests_per_minute else 0.0
        if tokens_per_minute:
            apart = max(apart, 60.0 * tokens / tokens_per_minute)
        self._next = start + apart
        while (wait := max(start, self._paused_until) - self._clock()) > 0:
            await self._sleep(wait)

    def pause(self, seconds: float) -> None:
        """Send nothing for this long."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
