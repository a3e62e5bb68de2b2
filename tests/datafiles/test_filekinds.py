"""Files that are not what their name says are identified, and the command in the fix makes a file that loads."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misstep.datafiles.files import rows
from misstep.errors import BadInput
from tests.shared_data import shared_data

ROWS = [{"question": f"How many are {i}, \u00e9?", "answer": f"{i}"} for i in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 5512345\n"


def zipped(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        list(rows(path))
    return str(caught.value)


def converted(path: Path) -> list[dict[str, object]]:
    """The rows of the file that the fix's command makes."""
    fix = refused(path)
    start = min(
        fix.find(word) for word in ("python3 -c", "gunzip", "bunzip2", "xz -dc", "unzip", "iconv", "mv ") if word in fix
    )
    command = fix[start:].split(" (then name")[0]
    subprocess.run(["bash", "-ec", command], check=True, timeout=60)
    made = next(
        p for p in (path.with_suffix(".jsonl"), path.with_suffix(""), path.with_suffix(".parquet")) if p.exists()
    )
    return [dict(values) for _, values in rows(made)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", json.dumps(ROWS), "one JSON array"),
        ("t.json", json.dumps(ROWS, indent=2), "one JSON array"),
        ("it's.jsonl", "\ufeff" + json.dumps(ROWS), "one JSON array"),
        ("t.jsonl", json.dumps({"data": ROWS}), 'one JSON object, whose "data" holds the rows'),
        ("t.json", json.dumps({"version": "1", "train": ROWS}, indent=1), 'whose "train" holds the rows'),
        ("t.json", json.dumps({c: {i: row[c] for i, row in enumerate(ROWS)} for c in ROWS[0]}), "a table by columns"),
        ("t.json", json.dumps({c: [row[c] for row in ROWS] for c in ROWS[0]}, indent=1), "a table by columns"),
        ("t.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS), "JSON objects of several lines each"),
        ("t.jsonl", "".join(f"{row}\n" for row in ROWS), "lines printed by Python"),
        ("t.jsonl", 'question,answer\n' + "".join(f'"{r["question"]}",{r["answer"]}\n' for r in ROWS), "CSV"),
        ("t.csv", 'question,answer\n' + "".join(f'"{r["question"]}",{r["answer"]}\n' for r in ROWS), "CSV"),
        ("t.tsv", "question\tanswer\r\n" + "".join(f"{r['question']}\t{r['answer']}\r\n" for r in ROWS), "CSV"),
        ("t.jsonl", "question;answer\n" + "".join(f"{r['question']};{r['answer']}\n" for r in ROWS), "CSV"),
    ],
)  # fmt: skip
def test_text_of_another_kind_is_named_and_the_command_converts_it(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert said in refused(tmp_path / name)
    assert converted(tmp_path / name) == ROWS


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.gz"])
def test_packed_files_are_named_and_the_command_unpacks_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(LINES.encode()))
    assert "gzip-compressed" in refused(tmp_path / name)
    assert converted(tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("packed", "said", "command"),
    [
        (bz2.compress(LINES.encode()), "bzip2-compressed", "bunzip2"),
        (lzma.compress(LINES.encode()), "xz-compressed", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed", "zstd"),
        (None, "a zip archive", "unzip"),
    ],
)
def test_other_ways_of_packing(tmp_path: Path, packed: bytes | None, said: str, command: str) -> None:
    file = tmp_path / "t.jsonl"
    if packed is None:
        zipped(file, "inner.jsonl", LINES.encode())
    else:
        file.write_bytes(packed)
    assert said in refused(file)
    if command != "zstd" and shutil.which(command):
        assert converted(file) == ROWS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_is_named_and_the_command_converts_it(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(LINES.encode(encoding))
    assert encoding.upper()[:6] in refused(file)
    assert converted(file) == ROWS


def test_text_of_one_byte_a_letter_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(LINES.encode("latin-1"))
    assert "not UTF-8 text (byte 0xe9)" in refused(tmp_path / "t.jsonl")
    assert "iconv -f WINDOWS-1252 -t UTF-8" in refused(tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet", "t.json"])
@pytest.mark.parametrize(
    ("content", "said", "fix"),
    [
        (POINTER, "a Git LFS pointer", "lfs pull --include"),
        ("../.git/annex/objects/x/y/MD5E-s1--a.jsonl", "a git-annex pointer", "annex get"),
        ("<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page", "/resolve/"),
        ("\n<html lang='en'>", "a web page", "Download the file itself"),
        ("<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page", "Download the file itself"),
        ("ARROW1\0\0", "an Arrow file", "to_parquet"),
    ],
)
def test_what_is_no_data_at_all_is_named(tmp_path: Path, name: str, content: str, said: str, fix: str) -> None:
    (tmp_path / name).write_text(content)
    message = refused(tmp_path / name)
    assert said in message and fix in message


def test_parquet_and_json_lines_under_each_others_names(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.jsonl")
    assert "a Parquet file" in refused(tmp_path / "a.jsonl")
    assert converted(tmp_path / "a.jsonl") == ROWS
    (tmp_path / "b.parquet").write_text(LINES)
    assert "JSON, not Parquet" in refused(tmp_path / "b.parquet")
    assert converted(tmp_path / "b.parquet") == ROWS


@pytest.mark.parametrize("name", ["lfs_pointer.jsonl", "lfs_pointer.parquet", "json_array.jsonl"])
def test_the_cases_that_were_reported(name: str) -> None:
    folder = shared_data("gsm8k").parents[1] / "cases" / "data"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    assert ("Git LFS pointer" if "lfs" in name else "one JSON array") in refused(folder / name)


def test_a_folder_that_the_datasets_library_saved_is_named(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "train")
    message = refused(tmp_path / "train")
    assert "save_to_disk" in message
    with_datasets = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", message[message.index("python3 -c") :]], check=True, timeout=120, env=with_datasets)
    assert [dict(values) for _, values in rows(tmp_path / "train.parquet")] == ROWS


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_has_no_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    assert list(rows(tmp_path / "t.jsonl")) == []


def test_tables_that_are_neither_rows_nor_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"columns": ["question", "answer"], "index": [0, 1], "data": [["a", "1"], ["b", "2"]]}))
    assert "a table with separate column names" in refused(path)
    assert converted(path) == [{"question": "a", "answer": "1"}, {"question": "b", "answer": "2"}]
    book = tmp_path / "t.xlsx"
    book.write_bytes(b"PK\x03\x04")
    assert "an Excel workbook" in refused(book) and "CSV" in refused(book)
    table = tmp_path / "t.parquet"
    table.write_text("question,answer\na,1\n")
    assert "CSV" in refused(table)
