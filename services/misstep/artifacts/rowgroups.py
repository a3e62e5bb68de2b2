"""Cut a stream of record batches into row groups that depend only on the rows, not on the batches.

Equal rows then give equal Parquet bytes, and at most one group is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from misstep.errors import MisstepError

MAX_ROWS = 16_384
MAX_BYTES = 16 << 20
"""A group ends with the row that brings it to this many bytes of values."""


def conform(batch: pa.RecordBatch, schema: pa.Schema, table: str) -> pa.RecordBatch:
    """Return the batch with the declared schema. Raises MisstepError if names, types or nulls do not fit it."""
    if batch.schema.names != schema.names:
        raise MisstepError(f"table {table} has the columns {batch.schema.names}, not {schema.names}")
    for declared, column in zip(schema, batch.columns, strict=True):
        if column.type != declared.type:
            raise MisstepError(f"table {table}: column {declared.name} is {column.type}, not {declared.type}")
        if column.null_count and not declared.nullable:
            raise MisstepError(f"table {table}: column {declared.name} holds {column.null_count} nulls")
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def row_groups(
    batches: Iterable[pa.RecordBatch], max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in order, in groups of at most ``max_rows`` rows; a group ends early with the row that brings it
    to ``max_bytes``."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for whole in batches:
        batch = whole
        while batch.num_rows:
            taken, added = _rows_that_fit(batch, max_rows - rows, max_bytes - size)
            pending.append(batch.slice(0, taken))
            rows, size = rows + taken, size + added
            batch = batch.slice(taken)
            if rows == max_rows or size >= max_bytes:
                yield _joined(pending)
                pending, rows, size = [], 0, 0
    if pending:
        yield _joined(pending)


def _rows_that_fit(batch: pa.RecordBatch, rows: int, size: int) -> tuple[int, int]:
    """Return how many of the next rows the group takes, including the one that fills it, and their bytes."""
    batch = batch.slice(0, rows)
    ends = pc.cumulative_sum(_row_bytes(batch))
    below = pc.sum(pc.less(ends, size)).as_py()
    taken = min(below + 1, batch.num_rows)
    return taken, ends[taken - 1].as_py()


def _row_bytes(batch: pa.RecordBatch) -> pa.Array:
    """Return the bytes of each row's values, by our own rule, so that no version of Arrow changes them."""
    total = pa.repeat(pa.scalar(0, pa.int64()), batch.num_rows)
    for column in batch.columns:
        total = pc.add(total, _value_bytes(column))
    return total


def _value_bytes(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind):
        sizes = pc.binary_length(column)
    elif pa.types.is_list(kind):
        sizes = pc.fill_null(pc.list_value_length(column), 0)
        if pa.types.is_string(kind.value_type):
            sizes = _sums(_value_bytes(column.flatten()), sizes)
        else:
            sizes = pc.multiply(sizes, max(1, kind.value_type.bit_width // 8))
    else:
        return pa.repeat(pa.scalar(max(1, kind.bit_width // 8), pa.int64()), len(column))
    return pc.cast(pc.fill_null(sizes, 0), pa.int64())


def _sums(values: pa.Array, counts: pa.Array) -> pa.Array:
    """Add up consecutive values: the first ``counts[0]`` of them, then the next ``counts[1]``, and so on."""
    zero = pa.array([0], pa.int64())
    running = pa.concat_arrays([zero, pc.cumulative_sum(values)])
    ends = pc.cumulative_sum(pc.cast(counts, pa.int64()))
    return pc.subtract(running.take(ends), running.take(pc.subtract(ends, counts)))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
