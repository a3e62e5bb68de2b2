"""Rows of JSONL and Parquet files, and of MATH's folders, each with where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from misstep.errors import BadInput

Row = tuple[str, Mapping[str, Any]]
"""(where it stands, columns)"""


def rows(path: Path) -> Iterator[Row]:
    """Read a ``.jsonl`` or ``.parquet`` file, or all ``.json`` files under a folder in the order of their names.

    Raises:
        BadInput: another kind of file, or a row that cannot be read, by line.
    """
    if path.is_dir():
        yield from _json_folder(path)
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix in (".jsonl", ".json"):
        yield from _jsonl(path)
    else:
        raise BadInput(str(path), f"a {path.suffix or 'nameless'} file", "Give a .jsonl or .parquet file.")


def text_column(row: Row, column: str, path: Path) -> str:
    """Return a column's text. Numbers are taken as their text. Raises BadInput where it is missing or no text."""
    where, values = row
    if column not in values:
        present = ", ".join(map(str, values)) or "none"
        raise BadInput(
            f"{path.name}, column {column}",
            f"missing at {where}",
            f"The columns there are: {present}; set columns.",
        )
    value = values[column]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadInput(f"{path.name}, column {column}", f"{value!r} at {where}", "It must hold text or a number.")
    return str(value).strip()


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", errors="strict") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"line {number}", _object(line, f"{path.name}, line {number}")
        except UnicodeDecodeError as error:
            raise BadInput(str(path), "not UTF-8 text", "Save the file as UTF-8.") from error


def _object(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(where, text.strip()[:80], f"This is no JSON ({error}). Mend or remove it.") from error
    if not isinstance(value, dict):
        raise BadInput(where, text.strip()[:80], "Each line must be a JSON object with named columns.")
    return value


def _json_folder(path: Path) -> Iterator[Row]:
    for file in sorted(path.rglob("*.json"), key=_natural_order):
        yield str(file.relative_to(path)), _object(file.read_text(encoding="utf-8"), str(file))


def _natural_order(file: Path) -> tuple[str, int, str]:
    return (str(file.parent), int(file.stem) if file.stem.isdigit() else -1, file.stem)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise BadInput(str(path), "not a Parquet file", f"{error}.") from error
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for values in batch.to_pylist():
            number += 1
            yield f"row {number}", values
