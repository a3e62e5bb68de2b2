"""Watches of the API server that go on for ever. They only wake passes: nothing hangs on them but time.

A watch begins with an event for each object that is there, so that no list is read. It goes on from the last version
that it knows, which bookmarks bring too, and begins anew where the API server has forgotten that version.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from misstep_operator.api.client import GONE, ApiError

SECONDS = 120
"""After so long a watch is opened anew, for some have been known to fall silent."""
PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds before the next try after one, two, ... that failed."""
_HEALTHY_SECONDS = 10.0


class Source(Protocol):
    """Opens a watch of one kind in one place; from the beginning where the version is empty."""

    def __call__(self, version: str, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]: ...


async def watch(source: Source, seen: Callable[[dict[str, Any]], None], failed: Callable[[Exception], None]) -> None:
    """Watch until cancelled.

    Args:
        seen: called with each object that has come, changed or gone.
        failed: called with what ended a watch before its time.
    """
    version, failures = "", 0
    while True:
        began, early = time.monotonic(), False
        try:
            async for kind, body in source(version, SECONDS):
                # The first events come in no order of versions: where one of them were gone on from, others that have
                # not come yet would be missed. A bookmark says that they are over.
                if version or kind == "BOOKMARK":
                    version = body["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    seen(body)
        except ApiError as error:
            if error.code == GONE:
                version = ""
            else:
                failed(error)
            early = True
        except Exception as error:  # noqa: BLE001 - whatever it was, the next try may do better
            failed(error)
            early = True
        if time.monotonic() - began > _HEALTHY_SECONDS:
            failures = 0
        elif early or not version:
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
