"""Watches of the API server that never end. They only make the operator reconcile sooner.

A watch begins with an event for each present object, so that no list is needed. It continues from the last version that
it knows, also from bookmarks, and starts again where the API server no longer has that version.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from misstep_operator.api.client import GONE, ApiError

SECONDS = 120
"""A watch is opened again after this time, since a connection may stop without an error."""
PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds before the next try, after one, two, ... failures."""
_HEALTHY_SECONDS = 10.0


class Source(Protocol):
    """Opens a watch of one kind in one namespace, from the beginning where the version is empty."""

    def __call__(self, version: str, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]: ...


async def watch(source: Source, changed: Callable[[dict[str, Any]], None], failed: Callable[[Exception], None]) -> None:
    """Watch until cancelled.

    Args:
        changed: called with each object that was created, changed or deleted.
        failed: called with each error.
    """
    version, failures = "", 0
    while True:
        began, early = time.monotonic(), False
        try:
            async for kind, body in source(version, SECONDS):
                # The first events are in no order of versions. If the watch continued from one of them, it could miss
                # others. A bookmark says that all of them have come.
                if version or kind == "BOOKMARK":
                    version = body["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    changed(body)
        except ApiError as error:
            if error.code == GONE:
                version = ""
            else:
                failed(error)
            early = True
        except Exception as error:  # noqa: BLE001 - the next try may succeed, whatever it was
            failed(error)
            early = True
        if time.monotonic() - began > _HEALTHY_SECONDS:
            failures = 0
        elif early or not version:
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1
