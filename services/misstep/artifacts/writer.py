"""Write a block's output under names with hashes: tables, as Parquet whose bytes depend only on their rows, and
files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from misstep.artifacts import paths
from misstep.artifacts.files import hash_file
from misstep.artifacts.manifest import Part
from misstep.artifacts.output import Output
from misstep.artifacts.records import TABLES
from misstep.artifacts.rowgroups import conform, row_groups
from misstep.errors import MisstepError
from misstep.plan.kinds import StageKind
from misstep.store.base import Store, check_path
from misstep.store.disk import disk_errors


def write_block(
    store: Store, key: str, kind: StageKind, block: int, blocks: int, output: Output, scratch: Path
) -> tuple[Part, ...]:
    """Store a block's output, and return its parts: tables by name, then files by path.

    Nothing is visible to readers until the block's receipt and the manifest exist. Raises MisstepError for a table that
    the kind does not declare or rows that do not fit its schema, BadInput if the store or the scratch disk is full or
    not accessible.
    """
    parts = []
    for table in sorted(output.tables):
        schema = TABLES[kind.value].get(table)
        if schema is None:
            raise MisstepError(f"a {kind.value} stage has no table {table!r}; records.TABLES declares them")
        with tempfile.TemporaryDirectory(prefix="write-", dir=scratch) as folder:
            local = Path(folder) / "part.parquet"
            with disk_errors("scratch folder", str(scratch)):
                rows = write_table(output.tables[table], schema, local, table)
            sha256 = hash_file(local)
            path = paths.table_part(table, block, blocks, sha256)
            store.put_file(f"{key}/{path}", local)
            size = local.stat().st_size
        parts.append(Part(path=path, size=size, sha256=sha256, block=block, table=table, rows=rows))
    for name, local in sorted(output.files.items()):
        sha256 = hash_file(local)
        path = paths.file_part(check_path(name), sha256)
        store.put_file(f"{key}/{path}", local)
        parts.append(Part(path=path, size=local.stat().st_size, sha256=sha256, block=block, file=name))
    return tuple(parts)


def write_table(data: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema, local: Path, name: str) -> int:
    """Stream rows into a Parquet file (zstd), with at most one row group in memory, and return the number of rows.

    The bytes depend on the rows only (for a given version of Arrow), not on how they are cut into batches.
    """
    batches = data.to_batches() if isinstance(data, pa.Table) else data
    rows = 0
    with pq.ParquetWriter(local, schema, compression="zstd", version="2.6") as writer:
        for group in row_groups(conform(batch, schema, name) for batch in batches):
            writer.write_batch(group, row_group_size=group.num_rows)
            rows += group.num_rows
    return rows
