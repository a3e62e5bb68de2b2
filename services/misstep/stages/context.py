"""The interface between a stage's code and its surroundings: typed parameters, inputs, progress, a scratch folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from misstep.artifacts.output import Output, Summary

if TYPE_CHECKING:
    import pyarrow as pa

    from misstep.errors import MisstepError
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.params import Params


class Progress(Protocol):
    """Where a stage reports its progress; the runner shows it, and it is written next to the artifact every few
    seconds."""

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None: ...


class Checkpoints(Protocol):
    """Unfinished work of a single-block stage (training), kept in the store so that another machine can resume it."""

    def save(self, step: int, folder: Path) -> None:
        """Store a folder as the newest checkpoint: complete or invisible, the last two kept."""

    def newest(self) -> tuple[int, Path] | None:
        """Fetch the newest complete checkpoint into a local folder, or None."""

    def refuse(self, step: int, why: str) -> MisstepError:
        """Take a checkpoint out of use, so that no attempt resumes from it; return the error to raise."""

    def note_out_of_memory(self, micro_batch: int) -> None:
        """Note, for the next attempts, that micro-batches of so many rows do not fit into memory."""

    def out_of_memory(self) -> int | None:
        """Return the micro-batch with which the last attempt ran out of memory, or None."""


class LiveLog(Protocol):
    """Where a training publishes its log while it runs."""

    def publish(self, log: Iterable[Mapping[str, Any]], selection: Iterable[Mapping[str, Any]]) -> None:
        """Publish all rows so far (``misstep.artifacts.live_log``)."""


class StageContext(Protocol):
    """One shard of one stage: its parameters, and what it may read."""

    @property
    def stage(self) -> FrozenStage: ...
    @property
    def params(self) -> Params:
        """The typed parameters; each stage narrows them with ``assert isinstance``."""

    @property
    def threads(self) -> int: ...
    @property
    def scratch(self) -> Path:
        """A scratch folder of this stage; it survives a restart on one machine, but not in a pod."""

    @property
    def progress(self) -> Progress: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def live_log(self) -> LiveLog: ...

    def has(self, role: str) -> bool:
        """Return whether the stage has an input or external with that role."""

    def manifest_summary(self, role: str) -> Summary:
        """Return the summary of an input's manifest."""

    def rows_in(self, role: str, table: str) -> int: ...
    def parts_in(self, role: str, table: str) -> int: ...
    def read(self, role: str, table: str, columns: list[str] | None = None) -> pa.Table:
        """Read a whole table; for small ones (problems, pairs)."""

    def batches(
        self, role: str, table: str, columns: list[str] | None = None, part: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream a table, or one of its parts."""

    def file(self, role: str, path: str) -> Path:
        """Return a local copy of one file of an input artifact."""

    def model_folder(self, role: str = "model") -> Path:
        """Return a local Hugging Face model folder: an input's ``model/``, or an external model.

        For the role ``policy`` it is the input's ``policy/``, if there is one: another checkpoint of the same run.
        """

    def external_path(self, role: str) -> Path:
        """Return a local path of external data."""


class Work(Protocol):
    """A stage's work, split into blocks that are committed one by one. ``blocks`` depends only on the inputs, not on
    shards or machines; a block's output depends only on its index."""

    def blocks(self) -> int: ...
    def run(self, block: int) -> Output: ...
    def close(self) -> None: ...


class OneBlock:
    """The part of a ``Work`` that all works of a single block which hold nothing open have in common."""

    def blocks(self) -> int:
        return 1

    def close(self) -> None:
        """Release nothing."""


@runtime_checkable
class LooksAhead(Protocol):
    """Work that may start the next block while the last part of the current one is still running."""

    def expect(self, block: int | None) -> None:
        """Announce the block after the one that runs next, or None if there is none. Called before each ``run``."""
