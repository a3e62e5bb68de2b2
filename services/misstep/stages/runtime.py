"""The implementation of ``StageContext``, which a stage's code uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts.checkpoints import Layout, StoredCheckpoints
from misstep.artifacts.live_log import LiveLog as StoredLiveLog
from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.output import Summary
from misstep.artifacts.progress import ProgressWriter
from misstep.artifacts.reader import Reader
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.params import Params
from misstep.stages.context import Checkpoints, LiveLog, Progress
from misstep.stages.externals import fetch_external
from misstep.store.base import Store
from misstep.store.open import open_store


class Runtime:
    """One shard of one stage; it reads its inputs through a folder in ``scratch``."""

    def __init__(self, stage: FrozenStage, store: Store, scratch: Path, progress: Progress) -> None:
        self._stage, self._scratch, self._progress = stage, scratch, progress
        self._params = stage.typed_params()
        self._models = ModelCache.of_environment()
        self._reader = Reader(store, scratch / "inputs", models=self._models)
        self._checkpoints: Checkpoints = StoredCheckpoints(store, stage.key, scratch)
        self._live_log: LiveLog = StoredLiveLog(
            lambda: open_store(stage.storage, patient=False, accepted=bool(stage.needs)), stage.key
        )
        self._externals: dict[str, Path] = {}

    @property
    def stage(self) -> FrozenStage:
        return self._stage

    @property
    def params(self) -> Params:
        return self._params

    @property
    def threads(self) -> int:
        return self._stage.resources.cpus

    @property
    def scratch(self) -> Path:
        folder = self._scratch / "work"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def checkpoints(self) -> Checkpoints:
        return self._checkpoints

    @property
    def live_log(self) -> LiveLog:
        return self._live_log

    def has(self, role: str) -> bool:
        return role in self._stage.inputs or role in self._stage.externals

    def manifest_summary(self, role: str) -> Summary:
        return self._reader.manifest(self._key(role)).summary

    def rows_in(self, role: str, table: str) -> int:
        return self._reader.rows(self._key(role), table)

    def parts_in(self, role: str, table: str) -> int:
        return self._reader.parts(self._key(role), table)

    def read(self, role: str, table: str, columns: list[str] | None = None) -> pa.Table:
        return self._reader.table(self._key(role), table, columns)

    def batches(
        self, role: str, table: str, columns: list[str] | None = None, part: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        return self._reader.batches(self._key(role), table, columns, part)

    def file(self, role: str, path: str) -> Path:
        return self._reader.file(self._key(role), path)

    def model_folder(self, role: str = "model") -> Path:
        if role in self._stage.inputs:
            key = self._key(role)
            prefix = self._reader.manifest(key).policy_prefix() if role == "policy" else "model/"
            return self._reader.folder(key, prefix)
        path = self.external_path(role)
        if not path.is_dir():
            raise BadInput(f"external {role}", str(path), "Name the folder of a Hugging Face model.")
        return path

    def external_path(self, role: str) -> Path:
        external = self._stage.externals.get(role)
        if external is None:
            raise MisstepError(f"stage {self._stage.name} has no external {role!r}")
        if role not in self._externals:
            folder = self._scratch / "externals"
            self._externals[role] = fetch_external(role, external, self._stage.storage, folder, self._models)
        return self._externals[role]

    def close(self) -> None:
        self._reader.close()
        self._models.close()

    def _key(self, role: str) -> str:
        key = self._stage.inputs.get(role)
        if key is None:
            raise MisstepError(f"stage {self._stage.name} has no input {role!r}")
        return key


class RankRuntime(Runtime):
    """One rank of a training stage that several processes run together.

    Models are fetched once per node, by its first rank; tables, which are small, by each rank. ``shared`` is a folder
    that all ranks of the node use, ``scratch`` belongs to this rank (for the first rank it is the shared one).
    """

    def __init__(self, stage: FrozenStage, store: Store, shared: Path, scratch: Path, progress: ProgressWriter) -> None:
        from misstep.distributed.ranks import RankCheckpoints, world

        super().__init__(stage, store, scratch, progress if world().first else _Silent())
        resources = stage.resources
        layout = Layout(processes=resources.processes, zero_stage=resources.zero_stage)
        self._shared = shared
        if not world().first:
            self._live_log = _Silent()
        self._checkpoints = RankCheckpoints(StoredCheckpoints(store, stage.key, shared, layout))

    @property
    def threads(self) -> int:
        return self._stage.resources.threads

    @property
    def scratch(self) -> Path:
        folder = self._shared / "work"
        folder.mkdir(exist_ok=True)
        return folder

    def model_folder(self, role: str = "model") -> Path:
        return self._once_a_node(f"model-{role}", lambda: Runtime.model_folder(self, role))

    def _once_a_node(self, name: str, fetch: Callable[[], Path]) -> Path:
        from misstep.distributed.ranks import barrier, world

        note = self._shared / "ranks" / f"{name}.path"
        if world().local_rank == 0:
            note.write_text(str(fetch()))
        barrier()
        return Path(note.read_text())


class _Silent:
    """Progress and log of ranks that are not the first."""

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        """Do nothing: the first rank reports the same progress."""

    def publish(self, log: Iterable[Mapping[str, Any]], selection: Iterable[Mapping[str, Any]]) -> None:
        """Do nothing, as above."""
