"""A small object per shard with its progress, for watchers. An error in writing it never fails a stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from misstep.artifacts import paths
from misstep.errors import MisstepError
from misstep.store.base import MissingError, Readable, Store

if TYPE_CHECKING:
    from misstep.stages.context import Progress

_log = logging.getLogger(__name__)
EVERY_SECONDS = 2.0
_LONGEST_WAIT = 60.0
_MOST_BYTES = 16 << 10
"""The most bytes that are read of a heartbeat; it has a few hundred."""
_LONGEST_LEFT_SECONDS = 10 * 365 * 86400.0
Amount = Annotated[int, Field(ge=0, lt=1 << 53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Heartbeat(BaseModel):
    """The progress of a shard. ``done`` of ``total`` count the current work (usually a block's); ``blocks_done`` of
    ``blocks`` count this shard's blocks, so ``fraction`` is the progress of the whole shard."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    shard: Amount
    done: Amount
    total: Amount
    unit: str
    rate: Finite | None = None
    """Units per second since the count last began; None at first."""
    detail: dict[str, float | str] = Field(default_factory=dict)
    blocks_done: Amount = 0
    blocks: Amount = 1
    updated: Finite
    """Seconds since the epoch; when read, by the store's clock."""

    @property
    def fraction(self) -> float:
        within = self.done / self.total if self.total else 0.0
        if self.blocks_done >= self.blocks:
            return 1.0
        return (self.blocks_done + min(within, 1.0)) / self.blocks

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest of the current block takes at its rate, and the shard's other blocks at the same rate;
        None where the rate is not known, or next to nothing."""
        if not self.rate or self.rate < 0 or self.done > self.total:
            return None
        others = max(self.blocks - self.blocks_done - 1, 0)
        left = (self.total - self.done + others * self.total) / self.rate
        return left if left < _LONGEST_LEFT_SECONDS else None


class ProgressWriter:
    """Writes a shard's heartbeat at most every two seconds, and less often while writing fails."""

    def __init__(
        self,
        store: Store,
        key: str,
        shard: int,
        listener: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._path, self._shard = store, paths.progress(key, shard), shard
        self._listener, self._clock, self._now = listener, clock, now
        self._blocks = (0, 1)
        self._latest: Heartbeat | None = None
        self._began = (0, clock())
        self._next_write = clock()
        self._wait = EVERY_SECONDS

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        now = self._clock()
        latest = self._latest
        if latest is None or done < latest.done or unit != latest.unit:
            self._began = (done, now)
        began_at, began = self._began
        self._latest = Heartbeat(
            shard=self._shard,
            done=done,
            total=total,
            unit=unit,
            rate=(done - began_at) / (now - began) if done > began_at and now > began else None,
            detail=detail,
            blocks_done=self._blocks[0],
            blocks=self._blocks[1],
            updated=self._now(),
        )
        if self._listener is not None:
            self._listener.update(done, total, unit, **detail)
        if now >= self._next_write:
            self.flush()

    @property
    def fraction(self) -> float:
        """The shard's progress, from 0 to 1."""
        return self._latest.fraction if self._latest is not None else 0.0

    def blocks(self, done: int, total: int) -> None:
        """Set how many of the shard's blocks are finished; written with the next heartbeat."""
        self._blocks = (done, total)

    def flush(self) -> None:
        """Write the current state now."""
        if self._latest is None:
            return
        self._latest = self._latest.model_copy(
            update={"blocks_done": self._blocks[0], "blocks": self._blocks[1], "updated": self._now()}
        )
        try:
            self._store.put(self._path, self._latest.model_dump_json().encode())
            self._wait = EVERY_SECONDS
        except MisstepError as error:
            self._wait = min(2 * self._wait, _LONGEST_WAIT)
            _log.warning("progress could not be written: %s", error)
        self._next_write = self._clock() + self._wait


def read_progress(store: Readable, key: str, shards: int | None = None, since: float = 0.0) -> list[Heartbeat]:
    """Return the heartbeats of an artifact's shards, in order; heartbeats that do not parse are left out.

    Their times are the store's, because the clock of the writing machine may be wrong.

    Args:
        shards: the number of shards; other objects are not read.
        since: leave out those written before (seconds since the epoch).
    """
    found: list[Heartbeat] = []
    names = None if shards is None else {paths.progress(key, shard): shard for shard in range(shards)}
    for entry in store.list(f"{key}/progress/"):
        if entry.modified < since or entry.size > _MOST_BYTES or (names is not None and entry.path not in names):
            continue
        if not paths.HEARTBEAT.fullmatch(entry.path.removeprefix(f"{key}/")):
            continue
        try:
            written = Heartbeat.model_validate_json(store.get(entry.path))
        except (MissingError, ValidationError):
            continue
        if names is None or written.shard == names[entry.path]:
            found.append(written.model_copy(update={"updated": entry.modified}))
    return sorted(found, key=lambda heartbeat: heartbeat.shard)
