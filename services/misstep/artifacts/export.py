"""Take results out of a store: JSON lines, CSV, a data set folder for Hugging Face ``datasets``, or plain files."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from misstep.artifacts.files import fetch
from misstep.artifacts.manifest import Manifest, NotCommittedError, read_manifest
from misstep.errors import BadInput
from misstep.store.base import Store
from misstep.store.disk import disk_errors
from misstep.store.inside import inside

if TYPE_CHECKING:
    from misstep.artifacts.reader import Reader

Format = Literal["jsonl", "csv", "hf", "model", "files"]


def export(store: Store, key: str, table: str | None, format: Format, out: Path) -> None:
    """Write a committed artifact, or one of its tables, to ``out``, which must not exist yet.

    ``jsonl`` and ``csv`` write one table into a file (lists become JSON text in CSV; ``table`` may be left out if there
    is only one), ``hf`` a folder that ``datasets.load_dataset`` reads (one configuration per table that has rows),
    ``model`` the model's folder, ``files`` all files of the artifact. Rows are streamed; an error leaves nothing
    behind. Raises BadInput for a wrong table, format or target, Damaged for damaged parts, NotCommittedError.
    """
    if format not in get_args(Format):
        raise BadInput("--format", format, f"Choose one of {', '.join(get_args(Format))}.")
    manifest = read_manifest(store, key)
    if manifest is None:
        raise NotCommittedError(key)
    tables = _tables(manifest, table, several=format == "hf") if format in ("jsonl", "csv", "hf") else []
    with appears_when_done(out) as partial, reader_of(store) as reader:
        if format == "jsonl":
            _write_jsonl(reader, key, tables[0], partial)
        elif format == "csv":
            _write_csv(reader, key, tables[0], partial)
        elif format == "hf":
            _write_dataset(store, manifest, tables, partial)
        else:
            write_files(store, manifest, "model/" if format == "model" else "", partial)


def _tables(manifest: Manifest, table: str | None, several: bool) -> list[str]:
    from misstep.artifacts.records import TABLES

    declared = list(TABLES[manifest.kind.value])
    if not declared:
        raise BadInput("key", manifest.key, "It holds no tables: export it with --format files.")
    if table is None and (several or len(declared) == 1):
        return declared
    if table not in declared:
        raise BadInput("--table", table, f"Choose one of {', '.join(declared)}.")
    return [table]


@contextmanager
def appears_when_done(out: Path) -> Iterator[Path]:
    """Give a path to write to, and move it to ``out`` once the block ends without an error. Raises BadInput."""
    if out.exists():
        raise BadInput("--out", str(out), "It exists already: name something new.")
    with disk_errors("--out", str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            partial = Path(folder) / out.name
            yield partial
            partial.rename(out)


@contextmanager
def reader_of(store: Store) -> Iterator[Reader]:
    """Open a reader with a folder of its own."""
    from misstep.artifacts.reader import Reader

    with tempfile.TemporaryDirectory(prefix="misstep-export-") as folder:
        yield Reader(store, Path(folder) / "inputs")


def _write_jsonl(reader: Reader, key: str, table: str, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in reader.batches(key, table):
            for row in batch.to_pylist():
                file.write(json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n")


def _write_csv(reader: Reader, key: str, table: str, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(reader.schema(key, table).names)
        for batch in reader.batches(key, table):
            for row in batch.to_pylist():
                writer.writerow([json.dumps(_finite(v)) if isinstance(v, list) else v for v in row.values()])


def _write_dataset(store: Store, manifest: Manifest, tables: list[str], folder: Path) -> None:
    from misstep.artifacts.card import dataset_card

    for table in tables:
        target = folder / "data" / table
        parts = [part for part in manifest.table_parts(table) if part.rows]
        for number, part in enumerate(parts):
            path = target / f"train-{number:05d}-of-{len(parts):05d}.parquet"
            fetch(store, f"{manifest.key}/{part.path}", part.size, part.sha256, path, link=False)
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(dataset_card(manifest, tables), encoding="utf-8")


def write_files(store: Store, manifest: Manifest, prefix: str, folder: Path) -> None:
    """Copy the files of an artifact whose names begin so into a folder, under the rest of their names.

    Raises:
        BadInput: it has none.
        Damaged: a file is not what the manifest says.
    """
    files = manifest.files(prefix)
    if not files:
        raise BadInput("key", manifest.key, f"A {manifest.kind.value} stage's artifact holds no {prefix or 'files'}.")
    folder.mkdir(exist_ok=True)
    for name, part in files.items():
        target = inside(folder, name.removeprefix(prefix), manifest.key)
        fetch(store, f"{manifest.key}/{part.path}", part.size, part.sha256, target, link=False)


def _finite(value: Any) -> Any:
    """Replace the floats that JSON cannot hold (NaN and infinities) by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return value
