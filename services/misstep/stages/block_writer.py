"""Write finished blocks while the next one is computed, so that neither the engine nor the store waits for the
other."""

from __future__ import annotations

import contextvars
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import structlog

from misstep.artifacts import manifest as m
from misstep.artifacts.output import Output
from misstep.artifacts.summary import plain
from misstep.plan.frozen import FrozenStage
from misstep.stages.tools import loaded_versions
from misstep.store.base import Store
from misstep.store.disk import full_disk_errors

_log = structlog.get_logger(__name__)


class BlockWriter:
    """Writes one block at a time, in a separate thread if its tables are already in memory.

    A table that is not computed yet is written immediately, in the caller's thread: the stage's own code computes it,
    and that code runs in one thread only. At most one block waits to be written, so that at most two are in memory.
    """

    def __init__(self, stage: FrozenStage, blocks: int, store: Store, scratch: Path) -> None:
        self._stage, self._blocks, self._store, self.scratch = stage, blocks, store, scratch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="block-writer")
        self._pending: Future[None] | None = None

    def is_finished(self, block: int) -> bool:
        """Return whether the block has a receipt, by any process."""
        return m.read_receipt(self._store, self._stage.key, block, self._blocks) is not None

    def write(self, block: int, output: Output, started: float) -> None:
        """Write a block and its receipt, as soon as the block before it is written.

        Args:
            started: when work on the block began, by ``time.monotonic()``.

        Raises:
            BadInput, MisstepError: writing this block or the one before it failed.
        """
        from pyarrow import Table

        self.drain()
        if all(isinstance(table, Table) for table in output.tables.values()):
            run = contextvars.copy_context().run  # log lines of the thread name the stage too
            self._pending = self._thread.submit(run, self._write, block, output, started)
        else:
            self._write(block, output, started)

    def drain(self) -> None:
        """Wait until everything is written; raise the error if that fails."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, block: int, output: Output, started: float) -> None:
        from misstep.artifacts.writer import write_block

        key = self._stage.key
        with full_disk_errors("scratch folder", str(self.scratch)):
            parts = write_block(self._store, key, self._stage.kind, block, self._blocks, output, self.scratch)
        seconds = round(time.monotonic() - started, 3)
        receipt = m.Receipt(
            block=block,
            blocks=self._blocks,
            parts=parts,
            summary=plain(output.summary),
            tools=loaded_versions(),
            seconds=seconds,
            peak_memory_mib=_peak_memory_mib(),
        )
        first = m.put_receipt(self._store, key, receipt)
        rows = {part.table: part.rows for part in parts if part.table is not None}
        event = "block finished" if first else "block finished by another process before"
        size = sum(part.size for part in parts)
        _log.info(event, block=block, blocks=self._blocks, rows=rows, bytes=size, seconds=seconds)

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()  # the block that is being written is finished even if the stage has to end


def _peak_memory_mib() -> int | None:
    """Return the peak of this process's resident memory; None if the kernel does not provide it.

    ``getrusage`` is not used: its peak survives ``exec``, so it would include the parent's.
    """
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        return int(found[1]) // 1024 if found else None
    return None
