"""Read committed artifacts: only what a manifest lists, with size and sha256 checked, one batch in memory at a time."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from misstep.artifacts.digest import folder_digest
from misstep.artifacts.files import fetch, problem_of, stored_problem
from misstep.artifacts.manifest import Damaged, Manifest, NotCommittedError, Part, read_manifest
from misstep.artifacts.records import LATER_COLUMNS, TABLES
from misstep.errors import MisstepError
from misstep.store.base import Store
from misstep.store.inside import inside

if TYPE_CHECKING:  # it locks files, and readers on a researcher's own machine need it not at all
    from misstep.artifacts.model_cache import ModelCache

BATCH_ROWS = 1024
CACHE_BYTES = 8 << 30


class Reader:
    """Reads through a local folder, into which parts of a remote store are fetched; ``close`` removes it.

    A part is checked when it is first used in this process. If the folder grows beyond ``cache_bytes``, table parts are
    removed, least recently used first; files stay until ``close``. Folders of a remote store are kept in ``models``, if
    given; the caller must close that.
    """

    def __init__(
        self, store: Store, folder: Path, cache_bytes: int = CACHE_BYTES, models: ModelCache | None = None
    ) -> None:
        self._store, self._folder, self._cache_bytes, self._models = store, folder, cache_bytes, models
        self._manifests: dict[str, Manifest] = {}
        self._checked: set[str] = set()
        self._cached: OrderedDict[Path, int] = OrderedDict()
        self._folders: dict[tuple[str, str], Path] = {}

    def manifest(self, key: str) -> Manifest:
        """Raises NotCommittedError; Damaged if it does not parse."""
        if key not in self._manifests:
            manifest = read_manifest(self._store, key)
            if manifest is None:
                raise NotCommittedError(key)
            self._manifests[key] = manifest
        return self._manifests[key]

    def rows(self, key: str, table: str) -> int:
        return sum(part.rows or 0 for part in self._parts(key, table))

    def parts(self, key: str, table: str) -> int:
        return len(self._parts(key, table))

    def table(self, key: str, table: str, columns: list[str] | None = None) -> pa.Table:
        """Read a whole table. Raises Damaged if a part differs from the manifest."""
        return pa.Table.from_batches(self.batches(key, table, columns), schema=self.schema(key, table, columns))

    def batches(
        self,
        key: str,
        table: str,
        columns: list[str] | None = None,
        part: int | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Stream a table's rows in order, or those of its ``part``-th part; one empty batch if there are none.

        Raises as ``table`` does.
        """
        schema = self.schema(key, table, columns)
        parts = self._parts(key, table)
        empty = True
        for one in parts if part is None else parts[part : part + 1]:
            with pq.ParquetFile(self._local(key, one), pre_buffer=False) as file:
                missing = self._missing(key, table, file.schema_arrow)
                if missing is None:
                    raise Damaged(f"{key}/{one.path}", "its columns are not those of the table")
                held = [name for name in schema.names if name not in missing]
                for group in range(file.num_row_groups):
                    # A file that is asked for no column gives no rows either, so it is asked for one more.
                    for batch in file.iter_batches(
                        batch_rows, [group], held or file.schema_arrow.names[:1], use_threads=False
                    ):
                        yield _filled(batch, schema, missing)
                        empty = False
        if empty:
            yield from schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema)]

    def file(self, key: str, path: str) -> Path:
        """Return a local copy of one file, not to be written to. Raises MisstepError if the artifact lacks it."""
        part = self.manifest(key).files().get(path)
        if part is None:
            raise MisstepError(f"{key} holds no file {path}")
        return self._local(key, part)

    def folder(self, key: str, prefix: str) -> Path:
        """Return a local folder with the files below ``prefix``, such as ``model/``; not to be written to."""
        files = self.manifest(key).files(prefix)
        if not files:
            raise MisstepError(f"{key} holds no files below {prefix}")
        if (key, prefix) not in self._folders:
            parts = {name.removeprefix(prefix): part for name, part in files.items()}
            own = self._folder / "folders" / key / prefix.rstrip("/")
            self._folders[key, prefix] = self._cached_folder(key, parts) or self._own_folder(key, parts, own)
        return self._folders[key, prefix]

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _parts(self, key: str, table: str) -> tuple[Part, ...]:
        self.schema(key, table)
        return self.manifest(key).table_parts(table)

    def schema(self, key: str, table: str, columns: list[str] | None = None) -> pa.Schema:
        kind = self.manifest(key).kind.value
        schema = TABLES[kind].get(table)
        if schema is None:
            raise MisstepError(f"a {kind} stage has no table {table!r}")
        unknown = [name for name in columns or () if name not in schema.names]
        if unknown:
            raise MisstepError(f"table {table} has no columns {unknown}")
        return schema if columns is None else pa.schema([schema.field(name) for name in columns])

    def _missing(self, key: str, table: str, found: pa.Schema) -> dict[str, Any] | None:
        """Return the later columns that a file lacks, with their values; None if its columns are not the table's."""
        whole = self.schema(key, table)
        if found.equals(whole):
            return {}
        later = LATER_COLUMNS.get((self.manifest(key).kind.value, table), {})
        before = pa.schema([field for field in whole if field.name not in later])
        return later if later and found.equals(before) else None

    def _cached_folder(self, key: str, parts: Mapping[str, Part]) -> Path | None:
        """Return it from the node's cache; None if there is no room, and for a store on this machine, whose files are
        used in place."""
        if self._models is None or self._store.local_path(key) is not None:
            return None
        digest = folder_digest({name: part.sha256 for name, part in parts.items()})
        size = sum(part.size for part in parts.values())
        return self._models.folder(digest, size, lambda target: self._fetch_folder(key, parts, target))

    def _own_folder(self, key: str, parts: Mapping[str, Part], target: Path) -> Path:
        if target.exists():
            shutil.rmtree(target)
        self._fetch_folder(key, parts, target)
        return target

    def _fetch_folder(self, key: str, parts: Mapping[str, Part], target: Path) -> None:
        for name, part in parts.items():
            local = inside(target, name, key)
            fetch(self._store, f"{key}/{part.path}", part.size, part.sha256, local, link=True)

    def _local(self, key: str, part: Part) -> Path:
        path = f"{key}/{part.path}"
        local = self._store.local_path(path)
        if local is None:
            return self._download(path, part)
        if path not in self._checked:
            problem = stored_problem(self._store, path, part.size, part.sha256)
            if problem is not None:
                raise Damaged(path, problem)
            self._checked.add(path)
        return local

    def _download(self, path: str, part: Part) -> Path:
        # The last component keeps the file's original name, because code may use its suffix.
        local = self._folder / "parts" / part.sha256 / Path(part.file or part.path).name
        if local in self._cached:
            self._cached.move_to_end(local)
            return local
        kept_from_before = local.exists() and problem_of(local, part.size, part.sha256) is None
        if not kept_from_before:
            self._make_room(part.size)
            fetch(self._store, path, part.size, part.sha256, local, link=False)
        self._cached[local] = part.size if part.table is not None else 0
        return local

    def _make_room(self, size: int) -> None:
        evictable = [path for path, held in self._cached.items() if held]
        while evictable and sum(self._cached.values()) + size > self._cache_bytes:
            oldest = evictable.pop(0)
            oldest.unlink(missing_ok=True)  # a reader that still has it open keeps its bytes
            del self._cached[oldest]


def _filled(batch: pa.RecordBatch, schema: pa.Schema, missing: Mapping[str, Any]) -> pa.RecordBatch:
    """Return a batch's columns in the order of the schema, with those that it lacks."""
    columns = [
        pa.repeat(pa.scalar(missing[field.name], field.type), batch.num_rows)
        if field.name in missing
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
