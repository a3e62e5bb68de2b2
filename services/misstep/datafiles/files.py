"""Rows of JSONL and Parquet files, and of folders of them, each with its location."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.datafiles.filekinds import refuse_other_kind, refuse_wrapped
from misstep.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[str, Mapping[str, Any]]
"""(location, columns)"""

SUFFIXES = (".jsonl", ".json", ".parquet")


def rows(path: Path) -> Iterator[Row]:
    """Read a ``.jsonl`` or ``.parquet`` file, or all such files under a folder in the order of their names.

    A ``.json`` file in a folder may hold one problem, as MATH's do.

    Raises:
        BadInput: another kind of file, or a row that cannot be read, by line.
    """
    if path.is_dir():
        if any(path.glob("*.arrow")):
            code = f"import datasets; datasets.load_from_disk({str(path)!r}).to_parquet({f'{path}.parquet'!r})"
            raise BadInput(
                str(path), "a folder that save_to_disk wrote", f"Write Parquet: python3 -c {shlex.quote(code)}"
            )
        for file in sorted((f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file()), key=_natural_order):
            name = str(file.relative_to(path))
            one = _one_object(file) if file.suffix == ".json" else None
            if one is not None:
                yield name, one
            else:
                yield from ((f"{name}, {where}", values) for where, values in rows(file))
        return
    refuse_other_kind(path)
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix in SUFFIXES:
        yield from _jsonl(path)
    else:
        raise BadInput(str(path), f"a {path.suffix or 'nameless'} file", "Give a .jsonl or .parquet file.")


def _jsonl(path: Path) -> Iterator[Row]:
    # If files were concatenated, there may be a byte order mark at the start of each.
    first: Row | None = None
    with path.open(encoding="utf-8", errors="strict") as lines:
        try:
            for number, line in enumerate(lines, 1):
                text = line.strip("\ufeff \t\r\n")
                if not text:
                    continue
                whole = line.endswith("\n") or text.endswith("}")
                row = (f"line {number}", _object(text, f"{path.name}, line {number}", whole=whole))
                if first is not None:
                    yield first
                    yield row
                    first = None
                elif number == 1:
                    first = row
                else:
                    yield row
        except UnicodeDecodeError as error:
            raise BadInput(
                str(path),
                f"not UTF-8 text (byte {error.object[error.start]:#04x})",
                f"Save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8.jsonl",
            ) from error
    if first is not None:  # the only row
        refuse_wrapped(path, dict(first[1]))
        yield first


def _object(text: str, where: str, *, whole: bool = True) -> Mapping[str, Any]:
    """Parse one object. Numbers with a fraction stay decimals, exactly as written.

    Args:
        whole: whether the line has its end; a line without one is cut off.
    """
    try:
        value = json.loads(text, parse_float=_decimal, object_pairs_hook=_once)
    except _TwiceError as error:
        raise BadInput(where, f"the column {error} is repeated with different values", "Keep one of them.") from error
    except (ValueError, RecursionError) as error:
        cut = "The file ends in the middle of it: copy or download it again, or remove this line."
        if text.endswith(("},", "}]")):
            raise BadInput(
                where, text[:80], "A line must be one object only: remove the comma or bracket after it."
            ) from error
        fix = f"This is not JSON ({error}). Fix or remove it." if whole else f"This is not JSON. {cut}"
        raise BadInput(where, text[:80], fix) from error
    if not isinstance(value, dict):
        raise BadInput(where, text[:80], "Each line must be a JSON object with named columns.")
    return value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text[:40]} is too large") from error


class _TwiceError(ValueError):
    """A name is repeated in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        for name, value in pairs:
            if values[name] != value:
                raise _TwiceError(name)
    return values


def _one_object(file: Path) -> Mapping[str, Any] | None:
    """The only object of a file; None if it is something else, such as JSON lines."""
    try:
        return _object(file.read_text(encoding="utf-8-sig").strip(), str(file))
    except (UnicodeDecodeError, BadInput):
        return None


def _natural_order(file: Path) -> tuple[str, int, str]:
    return (str(file.parent), int(file.stem) if file.stem.isdigit() else -1, file.stem)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise BadInput(str(path), f"two columns named {twice}", "Rename or drop one of them.")
            for batch in file.iter_batches(batch_size=1024):
                for values in _with_short_floats(batch).to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield f"row {number}", values
    except (pa.ArrowException, OSError) as error:
        fix = f"{str(error).splitlines()[0].rstrip('.')}. Copy or download it again."
        raise BadInput(str(path), "not a Parquet file that can be read", fix) from error


def _with_short_floats(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Read 32-bit numbers in their short form: 17.1, not 17.100000381469727."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(batch.schema):
        if pa.types.is_float32(field.type):
            written = pc.cast(batch.column(place), pa.string())
            batch = batch.set_column(place, field.name, pc.cast(written, pa.float64()))
    return batch
