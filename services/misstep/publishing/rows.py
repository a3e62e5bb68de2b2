"""The rows of a data set, as Parquet files that ``datasets.load_dataset`` reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from misstep.artifacts.export import reader_of
from misstep.credit.trl_source import TrlSource
from misstep.errors import BadInput
from misstep.publishing.choose import Choice, What
from misstep.publishing.data_card import Written
from misstep.store.base import Store

FILE_ROWS = 200_000
_GROUP_ROWS = 2_000
SCHEMAS = {
    What.PAIRS: pa.schema(
        [
            ("prompt", pa.string()),
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("problem_id", pa.string()),
            ("layout", pa.string()),
            ("pit", pa.int32()),
            ("chosen_source", pa.string()),
            ("rejected_complete", pa.bool_()),
            ("weight", pa.float64()),
        ]
    ),
    What.CREDIT: pa.schema(
        [
            ("prompt", pa.string()),
            ("completions", pa.list_(pa.string())),
            ("labels", pa.list_(pa.bool_())),
            ("problem_id", pa.string()),
            ("correct", pa.bool_()),
            ("pit", pa.int32()),
            ("values", pa.list_(pa.float64())),
        ]
    ),
    What.SAMPLES: pa.schema(
        [
            ("prompt", pa.string()),
            ("completion", pa.string()),
            ("label", pa.bool_()),
            ("problem_id", pa.string()),
            ("sample", pa.int32()),
            ("verdict", pa.string()),
            ("extracted", pa.string()),
        ]
    ),
}


def write_rows(store: Store, choice: Choice, folder: Path) -> Written:
    """Write ``train-00000-of-0000N.parquet`` into a new folder.

    Raises:
        BadInput: there are no rows.
        NotCommittedError: an artifact that the rows need is not in the store.
    """
    folder.mkdir(parents=True)
    schema = SCHEMAS[choice.what]
    files: list[Path] = []
    rows = otherwise = 0
    with reader_of(store) as reader, TrlSource.open(store, reader, choice.stage.key) as source:

        def made() -> Iterator[dict[str, Any]]:
            nonlocal rows, otherwise
            for found in source.rows():
                rows, otherwise = rows + 1, otherwise + (not found.same)
                yield found.row | found.about

        waiting = made()
        while group := list(islice(waiting, _GROUP_ROWS)):
            files.append(folder / f"part-{len(files)}")
            with pq.ParquetWriter(files[-1], schema) as writer:
                while group:
                    writer.write_table(pa.Table.from_pylist(group, schema=schema))
                    room = FILE_ROWS - (rows - FILE_ROWS * (len(files) - 1))
                    group = list(islice(waiting, min(_GROUP_ROWS, room)))
    if not files:
        raise BadInput("--data", choice.what.value, f"{choice.stage.name} has no rows of that kind.")
    for number, file in enumerate(files):
        file.rename(folder / f"train-{number:05d}-of-{len(files):05d}.parquet")
    return Written(rows, otherwise, dict(source.left_out))
