"""A stage context in memory: what the score and report stages read, without a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage, StageKind, Storage
from misstep.plan.params import Params
from misstep.stages.context import Checkpoints, Output, Progress


@dataclass
class Artifact:
    key: str
    tables: dict[str, pa.Table] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


class Silent:
    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        assert 0 <= done <= total


class NoCheckpoints:
    def save(self, step: int, folder: Path) -> None:
        raise AssertionError("not a training stage")

    def newest(self) -> tuple[int, Path] | None:
        raise AssertionError("not a training stage")


class FakeContext:
    """Implements ``StageContext`` over artifacts by role; batches are small so that streaming is exercised."""

    def __init__(
        self, kind: StageKind, params: Params, inputs: Mapping[str, Artifact], scratch: Path, rows: int = 97
    ) -> None:
        self._inputs, self._params, self._scratch, self._rows = dict(inputs), params, scratch, rows
        self._stage = FrozenStage(
            kind=kind,
            name=kind.value,
            key=f"{kind.value}-0",
            params=params.model_dump(mode="json"),
            inputs={role: artifact.key for role, artifact in inputs.items()},
            storage=Storage(uri="file:///nowhere"),
        )

    @property
    def stage(self) -> FrozenStage:
        return self._stage

    @property
    def params(self) -> Params:
        return self._params

    @property
    def threads(self) -> int:
        return 1

    @property
    def scratch(self) -> Path:
        return self._scratch

    @property
    def progress(self) -> Progress:
        return Silent()

    @property
    def checkpoints(self) -> Checkpoints:
        return NoCheckpoints()

    def has(self, role: str) -> bool:
        return role in self._inputs

    def manifest_summary(self, role: str) -> Mapping[str, Any]:
        return self._inputs[role].summary

    def rows_in(self, role: str, table: str) -> int:
        return self._table(role, table).num_rows

    def parts_in(self, role: str, table: str) -> int:
        return 1

    def read(self, role: str, table: str, columns: list[str] | None = None) -> pa.Table:
        found = self._table(role, table)
        return found if columns is None else found.select(columns)

    def batches(
        self, role: str, table: str, columns: list[str] | None = None, part: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        yield from self.read(role, table, columns).to_batches(max_chunksize=self._rows)

    def file(self, role: str, path: str) -> Path:
        if path not in self._inputs[role].files:
            raise MisstepError(f"{role} holds no file {path}")
        return self._inputs[role].files[path]

    def model_folder(self, role: str = "model") -> Path:
        raise AssertionError("the report reads no weights")

    def external_path(self, role: str) -> Path:
        raise AssertionError("the report reads nothing from outside")

    def _table(self, role: str, table: str) -> pa.Table:
        return self._inputs[role].tables[table]


def collected(output: Output, table: str) -> pa.Table:
    """Return a table of an output, streamed or not."""
    found: pa.Table | Iterable[pa.RecordBatch] = output.tables[table]
    return found if isinstance(found, pa.Table) else pa.Table.from_batches(list(found))
