"""Files that are not what their names say: identify each, and give the command that converts it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from misstep.errors import BadInput

_HEAD = 4096
_WHOLE = 1 << 30
"""A larger file is not parsed completely to identify it."""

_PACKED = (
    (b"\x1f\x8b", "gzip-compressed", "gunzip -c"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "zstd -dc"),
    (b"BZh", "bzip2-compressed", "bunzip2 -c"),
    (b"\xfd7zXZ\x00", "xz-compressed", "xz -dc"),
    (b"PK\x03\x04", "a zip archive", "unzip -p"),
)
_WIDE = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_PAGE = re.compile(rb"<(?:!doctype|html|head|body|\?xml|script)\b", re.IGNORECASE)
_ARRAY = re.compile(r"\[\s*(?:\{|\]\s*$)")
_NAME = re.compile(r"[^\W\d][\w.-]{0,40}(?: [\w.-]{1,20}){0,2}")
"""A column in the first line of a CSV file."""
_ROWS = "[print(json.dumps(r)) for r in {}]"
_WANTED = "One object per line is needed (JSON lines). This converts it: "
_LOAD = 'json.load(open(sys.argv[1], encoding="utf-8-sig"))'


def refuse_other_kind(path: Path) -> None:
    """Check the first bytes of a file, and refuse it if it is neither JSON lines nor Parquet.

    Raises:
        BadInput: a Git LFS pointer, a compressed file, a web page, one JSON array, CSV, UTF-16 and the like; the fix is
            a command.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    _refuse_pointer(path, head)
    _refuse_packed(path, head)
    if head.startswith(b"PAR1"):
        if path.suffix != ".parquet":
            raise BadInput(str(path), "a Parquet file", f"Rename it: {_move(path, '.parquet')}")
        return
    _refuse_binary(path, head)
    bare = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if _PAGE.match(bare):
        raise BadInput(
            str(path),
            "a web page, not data",
            "A page was saved instead of the file: a description, a login or an error. Download the file itself "
            "(on the Hugging Face Hub the address with /resolve/ instead of /blob/).",
        )
    text = bare.decode("utf-8", errors="replace")
    if path.suffix == ".parquet":
        if text.startswith("{"):
            raise BadInput(str(path), "JSON, not Parquet", f"Rename it: {_move(path, '.jsonl')}")
        if "\ufffd" in text or "\x00" in text:
            return  # binary data: the reader reports what is wrong
    if _ARRAY.match(text):
        raise BadInput(str(path), "one JSON array", _WANTED + _convert(path, _ROWS.format(_LOAD)))
    _refuse_text(path, text)


def _refuse_pointer(path: Path, head: bytes) -> None:
    """Refuse the pointers that a checkout has instead of large files that were not fetched."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        folder, name = shlex.quote(str(path.parent)), shlex.quote(path.name)
        raise BadInput(
            str(path),
            "a Git LFS pointer, not the file itself",
            f"Fetch the file: git -C {folder} lfs pull --include {name} (git lfs install first), or download it "
            "from "
            "the repository's server.",
        )
    if b"/annex/objects/" in head[:400]:
        raise BadInput(
            str(path),
            "a git-annex pointer, not the file itself",
            f"Fetch the file: git -C {shlex.quote(str(path.parent))} annex get {shlex.quote(path.name)}",
        )


def _refuse_packed(path: Path, head: bytes) -> None:
    if head.startswith(b"PK\x03\x04") and path.suffix in (".xlsx", ".xlsm"):
        raise BadInput(
            str(path), "an Excel workbook", "Save its sheet as CSV, and name that file: the error has a command."
        )
    for magic, what, command in _PACKED:
        if head.startswith(magic):
            packed = path.suffix in (".gz", ".zst", ".bz2", ".xz", ".zip")
            inner = path.with_suffix("") if packed else path
            target = inner if inner.suffix in (".jsonl", ".parquet") else inner.with_suffix(".jsonl")
            raise BadInput(str(path), what, f"Unpack it: {_into(f'{command} {_quoted(path)}', path, target)}")


def _refuse_binary(path: Path, head: bytes) -> None:
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        raise BadInput(
            str(path),
            "an Arrow file",
            'Write it as Parquet: with the datasets library, load_from_disk("FOLDER").to_parquet("train.parquet").',
        )
    wide = next((name for mark, name in _WIDE if head.startswith(mark)), None)
    if wide is None and head[1:2] == b"\x00" and head[:1] in (b"{", b"["):
        wide = "UTF-16LE"
    if wide is None and head[:1] == b"\x00" and head[1:2] in (b"{", b"["):
        wide = "UTF-16BE"
    if wide is not None:
        command = f"iconv -f {wide} -t UTF-8 {_quoted(path)}"
        raise BadInput(str(path), f"{wide} text", f"Save it as UTF-8: {_into(command, path, path)}")


def _refuse_text(path: Path, text: str) -> None:
    first = text.split("\n", 1)[0].rstrip("\r")
    if first.rstrip() == "{":
        raise BadInput(str(path), *_indented(path))
    if first.startswith(("{'", "{ '")):
        rows = '[print(json.dumps(ast.literal_eval(r))) for r in open(sys.argv[1], encoding="utf-8-sig") if r.strip()]'
        raise BadInput(
            str(path),
            "lines printed by Python, with single quotes, which are not JSON",
            f"This converts them: {_convert(path, rows, 'ast, ')}",
        )
    delimiter = next((sign for sign in ("\t", ";", ",") if sign in first), None)
    names = first.split(delimiter) if delimiter else []
    if path.suffix in (".csv", ".tsv") or (names and all(_NAME.fullmatch(name.strip('" ')) for name in names)):
        given = "" if delimiter in (None, ",") else f", delimiter={json.dumps(delimiter)}"
        rows = f'csv.DictReader(open(sys.argv[1], encoding="utf-8-sig", newline=""){given})'
        code = f"csv.field_size_limit(10**9); {_ROWS.format(rows)}"
        raise BadInput(
            str(path), "CSV, a table with a line of names", f"This converts it: {_convert(path, code, 'csv, ')}"
        )


def _indented(path: Path) -> tuple[str, str]:
    """Identify a file whose first line is only a brace: one object, or several, over many lines."""
    value = _whole(path)
    if value is None:
        split = r're.split(r"(?<=^\})\s*(?=^\{)", open(sys.argv[1], encoding="utf-8-sig").read(), flags=re.M)'
        code = f"[print(json.dumps(json.loads(r))) for r in {split}]"
        return "JSON objects of several lines each", _WANTED + _convert(path, code, "re, ")
    what, code = wrapped_rows(value) or ("one JSON object over several lines", "[print(json.dumps(d))]")
    return what, _WANTED + _convert(path, f"d = {_LOAD}; {code}")


def _whole(path: Path) -> dict[str, Any] | None:
    """The file as one JSON object; None if it is not one."""
    if path.stat().st_size > _WHOLE:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def wrapped_rows(value: dict[str, Any]) -> tuple[str, str] | None:
    """Return how one object holds rows, and Python code that prints them from ``d``; None if it is a row itself.

    It knows a table with separate column names (pandas' ``split``), a list of rows under a name (``{"data": [{..},
    ..]}``) and a table by columns, as pandas writes it (``{"question": {"0": ..}}``, or lists instead of the inner
    objects).
    """
    for name, inner in value.items():
        if (
            isinstance(inner, list)
            and len(inner) > 1
            and all(isinstance(row, dict) and "role" not in row for row in inner)
        ):
            return f"one JSON object, whose {json.dumps(name)} holds the rows", _ROWS.format(f"d[{json.dumps(name)}]")
    if value.keys() >= {"columns", "data"} and isinstance(value["columns"], list) and isinstance(value["data"], list):
        return (
            "a table with separate column names, as pandas' to_json(orient='split') writes it",
            '[print(json.dumps(dict(zip(d["columns"], r)))) for r in d["data"]]',
        )
    inners = list(value.values())
    if len(inners) > 1 and all(isinstance(inner, dict) and inner.keys() == inners[0].keys() for inner in inners):
        return (
            "a table by columns, as pandas' to_json writes it by default",
            "[print(json.dumps({c: d[c][k] for c in d})) for k in next(iter(d.values()))]",
        )
    if len(inners) > 1 and all(isinstance(inner, list) and len(inner) == len(inners[0]) > 1 for inner in inners):
        return "a table by columns", "[print(json.dumps(dict(zip(d, r)))) for r in zip(*d.values())]"
    return None


def refuse_wrapped(path: Path, value: dict[str, Any]) -> None:
    """Refuse a file whose only object holds the rows. Raises BadInput with the command that extracts them."""
    found = wrapped_rows(value)
    if found is not None:
        what, code = found
        raise BadInput(str(path), what, _WANTED + _convert(path, f"d = {_LOAD}; {code}"))


def _convert(path: Path, code: str, modules: str = "") -> str:
    command = f"python3 -c {shlex.quote(f'import {modules}json, sys; {code}')} {_quoted(path)}"
    return _into(command, path, path.with_suffix(".jsonl"))


def _into(command: str, source: Path, target: Path) -> str:
    """Return the command with its output redirected to a file, which may be the one that it reads."""
    if source != target:
        return f"{command} > {_quoted(target)} (then name that file)"
    new = target.with_name(f"{target.name}.new")
    return f"{command} > {_quoted(new)} && mv {_quoted(new)} {_quoted(target)}"


def _move(path: Path, suffix: str) -> str:
    return f"mv {_quoted(path)} {_quoted(path.with_suffix(suffix))}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
