"""The log of a training that still runs, as one small object for watchers; the committed tables take its place.

It has the same columns as the tables ``log`` and ``selection`` that the stage commits. An error in writing it never
fails a stage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from misstep.artifacts import paths
from misstep.artifacts.progress import Amount, Finite
from misstep.errors import MisstepError
from misstep.store.base import MissingError, Readable, Store

_log = logging.getLogger(__name__)
EVERY_SECONDS = 2.0
_SHARE = 100
"""After a write the next one waits at least this many times its duration, so that writing costs 1% of the time."""
_LONGEST_WAIT = 300.0
_RETRY_SECONDS = 30.0
"""After a write that failed."""
_MOST_BYTES = 64 << 20


class LogRow(BaseModel):
    """A row of the table ``log``: means over the steps since the row before."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    step: Amount
    epoch: Finite
    loss: Finite
    learning_rate: Finite
    grad_norm: float | None = None
    rewards_accuracy: float | None = None
    rewards_margin: float | None = None


class ScoreRow(BaseModel):
    """A row of the table ``selection``: how many problems a checkpoint solves."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    epoch: Amount
    step: Amount
    problems: Amount
    correct: Amount
    train_problems: Amount = 0
    train_correct: Amount = 0


class TrainingRows(BaseModel):
    """What a training has logged so far, in the order of steps."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    log: Annotated[tuple[LogRow, ...], Field(max_length=1_000_000)] = ()
    selection: Annotated[tuple[ScoreRow, ...], Field(max_length=10_000)] = ()


class LiveLog:
    """Writes the log of a running training: at most every two seconds, and less often where that takes long.

    Args:
        store: opens the store at the first write; it should not wait long for a server that is down.
    """

    def __init__(self, store: Callable[[], Store], key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._open, self._path, self._clock = store, paths.live_log(key), clock
        self._store: Store | None = None
        self._next_write = clock()

    def publish(self, log: Iterable[Mapping[str, Any]], selection: Iterable[Mapping[str, Any]]) -> None:
        """Write all rows so far, unless the last write was a moment ago.

        Args:
            log: rows of ``LogRow``; read only where they are written.
            selection: rows of ``ScoreRow``, as well.
        """
        began = self._clock()
        if began < self._next_write:
            return
        try:
            rows = TrainingRows.model_validate({"log": list(log), "selection": list(selection)})
            self._store = self._store or self._open()
            self._store.put(self._path, rows.model_dump_json(exclude_none=True).encode())
        except (MisstepError, ValidationError) as error:
            _log.warning("the log so far could not be written: %s", error)
            self._next_write = self._clock() + _RETRY_SECONDS
            return
        ended = self._clock()
        self._next_write = ended + min(max(EVERY_SECONDS, _SHARE * (ended - began)), _LONGEST_WAIT)


def read_live_log(store: Readable, key: str) -> TrainingRows | None:
    """Return what a running training has logged so far; None where it has written nothing that can be read."""
    path = paths.live_log(key)
    entry = next((entry for entry in store.list(path) if entry.path == path), None)
    if entry is None or entry.size > _MOST_BYTES:
        return None
    try:
        return TrainingRows.model_validate_json(store.get(path))
    except (MissingError, ValidationError):
        return None
