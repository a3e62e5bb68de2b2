"""Rows are the same after writing and reading, checked, and give the same bytes for any batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.artifacts import manifest as m
from misstep.artifacts.manifest import Damaged
from misstep.artifacts.output import Output
from misstep.artifacts.reader import Reader
from misstep.artifacts.records import LATER_COLUMNS, NEGATIVES, SAMPLES, TABLES, TRAINING_LOG
from misstep.artifacts.rowgroups import row_groups
from misstep.artifacts.writer import write_block, write_table
from misstep.errors import MisstepError
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from tests.artifacts.making import commit_model, commit_samples, finish_block, frozen, sample_rows

FILL = {pa.string(): "x", pa.int32(): 1, pa.int64(): 2, pa.float64(): 0.5, pa.bool_(): True}


def _row(schema: pa.Schema, empty: bool) -> dict[str, object]:
    def value(field: pa.Field) -> object:
        if field.nullable and empty:
            return None
        if pa.types.is_list(field.type):
            return (
                []
                if empty
                else [FILL[field.type.value_type], None if field.name == "q" else FILL[field.type.value_type]]
            )
        return FILL[field.type]

    return {field.name: value(field) for field in schema}


@pytest.mark.parametrize(("kind", "table"), [(kind, table) for kind, tables in TABLES.items() for table in tables])
def test_every_declared_table_makes_the_round(local: Store, tmp_path: Path, kind: str, table: str) -> None:
    schema = TABLES[kind][table]
    rows = pa.Table.from_pylist([_row(schema, empty=False), _row(schema, empty=True)] * 3, schema=schema)
    stage = frozen(StageKind(kind), {"x": 1})
    finish_block(local, stage, 0, 1, Output(tables={table: rows}), tmp_path)
    m.commit(local, stage, 1)
    reader = Reader(local, tmp_path / "r")
    assert reader.table(stage.key, table).equals(rows)
    assert reader.table(stage.key, table).schema.equals(schema)


@pytest.mark.parametrize(("kind", "table"), LATER_COLUMNS)
def test_tables_from_before_a_column_are_read_with_its_value(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, table: str
) -> None:
    schema, later = TABLES[kind][table], LATER_COLUMNS[kind, table]
    before = pa.schema([field for field in schema if field.name not in later])
    assert schema.names == [*before.names, *later]
    rows = pa.Table.from_pylist([_row(before, empty=False)] * 3, schema=before)
    stage = frozen(StageKind(kind), {"x": 1})
    with monkeypatch.context() as patched:
        patched.setitem(TABLES[kind], table, before)
        finish_block(local, stage, 0, 1, Output(tables={table: rows}), tmp_path)
        m.commit(local, stage, 1)
    reader = Reader(local, tmp_path / "r")
    whole = reader.table(stage.key, table)
    assert whole.schema.equals(schema) and whole.select(before.names).equals(rows)
    for name, value in later.items():
        assert whole[name].to_pylist() == reader.table(stage.key, table, [name])[name].to_pylist() == [value] * 3
    first = before.names[0]
    assert reader.table(stage.key, table, [first])[first].equals(rows[first])


def test_reading_by_parts_and_columns(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path, rows=(5, 0, 3))
    reader = Reader(store, tmp_path / "r")
    assert reader.rows(stage.key, "samples") == 8
    assert reader.parts(stage.key, "samples") == 3
    assert reader.table(stage.key, "samples").to_pylist() == [
        *sample_rows(0, 5).to_pylist(),
        *sample_rows(200, 3).to_pylist(),
    ]
    sizes = [sum(batch.num_rows for batch in reader.batches(stage.key, "samples", part=part)) for part in range(3)]
    assert sizes == [5, 0, 3]
    chosen = reader.table(stage.key, "samples", ["text", "problem_id"])
    assert chosen.column_names == ["text", "problem_id"]
    assert pa.Table.from_batches(reader.batches(stage.key, "samples", part=1)).schema.equals(SAMPLES)
    with pytest.raises(MisstepError, match="no columns \\['nonsense'\\]"):
        reader.table(stage.key, "samples", ["nonsense"])
    with pytest.raises(MisstepError, match="no table 'rollouts'"):
        reader.rows(stage.key, "rollouts")


def test_a_table_without_parts_is_empty_not_missing(local: Store, tmp_path: Path) -> None:
    stage = frozen(StageKind.CREDIT, {"x": 1})
    m.commit(local, stage, 0)
    reader = Reader(local, tmp_path / "r")
    assert reader.rows(stage.key, "negatives") == reader.parts(stage.key, "negatives") == 0
    assert reader.table(stage.key, "negatives").schema.equals(NEGATIVES)
    assert [batch.num_rows for batch in reader.batches(stage.key, "rollouts")] == [0]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.lists(st.integers(1, 25), max_size=8), st.integers(1, 12), st.integers(1, 400))
def test_row_groups_follow_from_the_rows_alone(count: int, cuts: list[int], max_rows: int, max_bytes: int) -> None:
    rows = sample_rows(0, count, length=7)

    def cut() -> Iterator[pa.RecordBatch]:
        start = 0
        for size in [*cuts, count]:
            yield from rows.slice(start, size).combine_chunks().to_batches()
            start += size

    whole = list(row_groups(rows.combine_chunks().to_batches(), max_rows, max_bytes))
    parts = list(row_groups(cut(), max_rows, max_bytes))
    assert [group.to_pylist() for group in parts] == [group.to_pylist() for group in whole]
    assert [row for group in whole for row in group.to_pylist()] == rows.to_pylist()
    for group in whole:
        assert 0 < group.num_rows <= max_rows
    for group in whole[:-1]:  # each is full: by rows, or by the bytes that its last row brings
        assert group.num_rows == max_rows or _bytes(group) >= max_bytes
    for group in whole:
        assert group.num_rows == 1 or _bytes(group.slice(0, group.num_rows - 1)) < max_bytes


def _bytes(batch: pa.RecordBatch) -> int:
    total = 0
    for row in batch.to_pylist():
        total += 4 + sum(len(row[name].encode()) for name in ("problem_id", "text", "finish_reason"))
        total += 4 * (len(row["prompt_ids"]) + len(row["token_ids"]))
    return total


def test_lists_of_strings_count_by_their_length() -> None:
    filled = _row(NEGATIVES, empty=False)
    rows = [{**filled, "step_texts": ["x" * n, "é"], "prefix_ids": []} for n in (5, 1000, 5, 5)]
    batches = pa.Table.from_pylist(rows, schema=NEGATIVES).to_batches()
    assert [group.num_rows for group in row_groups(batches, 100, 800)] == [2, 2]
    assert [group.num_rows for group in row_groups([batches[0].slice(2)], 100, 800)] == [2]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 3999), max_size=5, unique=True).map(sorted))
def test_equal_rows_make_equal_bytes(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    rows = sample_rows(0, 4000)
    batches = [
        batch
        for start, end in zip([0, *cuts], [*cuts, 4000], strict=True)
        for batch in rows.slice(start, end - start).to_batches()
    ]
    write_table(rows, SAMPLES, folder / "whole", "samples")
    write_table(iter(batches), SAMPLES, folder / "cut", "samples")
    assert (folder / "whole").read_bytes() == (folder / "cut").read_bytes()


def test_row_groups_are_bounded_in_the_file(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(5):
            yield from sample_rows(0, 10_000).to_batches()

    assert write_table(batches(), SAMPLES, tmp_path / "t", "samples") == 50_000
    meta = pq.ParquetFile(tmp_path / "t").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [16_384] * 3 + [848]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop_columns("text"), "has the columns"),
        (lambda t: t.append_column("extra", pa.array([1] * 3)), "has the columns"),
        (lambda t: t.select(list(reversed(t.column_names))), "has the columns"),
        (lambda t: t.set_column(1, "sample", pa.array([1] * 3, pa.int64())), "column sample is int64, not int32"),
        (lambda t: t.set_column(4, "text", pa.array(["a", None, "b"])), "column text holds 1 nulls"),
    ],
)
def test_rows_that_do_not_fit_their_schema(local: Store, tmp_path: Path, change: object, problem: str) -> None:
    table = change(sample_rows(0, 3))  # type: ignore[operator]
    with pytest.raises(MisstepError, match=f"table samples.*{problem}"):
        write_block(local, "sample-x", StageKind.SAMPLE, 0, 1, Output(tables={"samples": table}), tmp_path)
    assert list(local.list("")) == []


def test_nullable_flags_of_the_writer_do_not_matter(local: Store, tmp_path: Path) -> None:
    loose = pa.table(sample_rows(0, 3).to_pydict(), schema=pa.schema([f.with_nullable(True) for f in SAMPLES]))
    parts = write_block(local, "k", StageKind.SAMPLE, 0, 1, Output(tables={"samples": loose}), tmp_path)
    strict = write_block(local, "k", StageKind.SAMPLE, 0, 1, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    assert parts == strict


def test_an_undeclared_table_is_refused(local: Store, tmp_path: Path) -> None:
    with pytest.raises(MisstepError, match="a sample stage has no table 'rows'"):
        write_block(local, "k", StageKind.SAMPLE, 0, 1, Output(tables={"rows": sample_rows(0, 1)}), tmp_path)


def test_scratch_is_left_clean(local: Store, tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from sample_rows(0, 3).to_batches()
        raise RuntimeError("the stage's own error")

    with pytest.raises(RuntimeError, match="own error"):
        write_block(local, "k", StageKind.SAMPLE, 0, 1, Output(tables={"samples": failing()}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []


def _corrupt(store: Store, path: str, how: str) -> None:
    data = store.get(path)
    if how == "missing":
        store.delete(path)
    elif how == "truncated":
        store.put(path, data[:-10])
    elif how == "flipped":
        store.put(path, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    else:
        store.put(path, b"")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("missing", "missing"),
        ("truncated", "bytes instead of"),
        ("flipped", "sha256 .* instead of"),
        ("empty", "0 bytes"),
    ],
)
def test_damaged_parts_are_named(store: Store, tmp_path: Path, how: str, problem: str) -> None:
    stage = commit_samples(store, tmp_path)
    part = m.read_manifest(store, stage.key).parts[1]  # type: ignore[union-attr]
    _corrupt(store, f"{stage.key}/{part.path}", how)
    reader = Reader(store, tmp_path / "r")
    assert sum(batch.num_rows for batch in reader.batches(stage.key, "samples", part=0)) == 6
    with pytest.raises(Damaged, match=f"{stage.key}/{part.path}: .*{problem}.*misstep run --repair") as caught:
        reader.table(stage.key, "samples")
    assert caught.value.exit_code == 64


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_damaged_model_files_are_named(store: Store, tmp_path: Path, how: str) -> None:
    stage = commit_model(store, tmp_path, weights=bytes(range(256)))
    stored = m.read_manifest(store, stage.key).files()["model/model.safetensors"].path  # type: ignore[union-attr]
    _corrupt(store, f"{stage.key}/{stored}", how)
    for act in (
        lambda r: r.folder(stage.key, "model/"),
        lambda r: r.file(stage.key, "model/model.safetensors"),
    ):
        with pytest.raises(Damaged, match=r"model\.safetensors"):
            act(Reader(store, tmp_path / "r"))


def test_model_folders(store: Store, tmp_path: Path) -> None:
    stage = commit_model(store, tmp_path, weights=b"w" * 1000)
    reader = Reader(store, tmp_path / "r")
    folder = reader.folder(stage.key, "model/")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"w" * 1000
    assert reader.folder(stage.key, "model/") == folder
    assert reader.file(stage.key, "model/config.json").read_text() == "{}"
    assert reader.file(stage.key, "model/config.json").name == "config.json"
    with pytest.raises(MisstepError, match="holds no file nothing"):
        reader.file(stage.key, "nothing")
    with pytest.raises(MisstepError, match="holds no files below report/"):
        reader.folder(stage.key, "report/")
    # A process that was killed left this folder; the next one's files are the right ones.
    again = Reader(store, tmp_path / "r").folder(stage.key, "model/")
    assert (again / "model.safetensors").read_bytes() == b"w" * 1000
    reader.close()
    assert not (tmp_path / "r").exists()
    assert store.exists(f"{stage.key}/manifest.json")


def test_a_model_on_this_disk_is_linked_not_copied(local: Store, tmp_path: Path) -> None:
    stage = commit_model(local, tmp_path, weights=b"w" * 1000)
    path = Reader(local, tmp_path / "r").folder(stage.key, "model/") / "model.safetensors"
    assert path.stat().st_nlink == 2


@pytest.mark.parametrize("storage", ["moto"], indirect=True)
def test_the_cache_of_remote_parts_is_bounded(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path, rows=(50,) * 6)
    sizes = [part.size for part in m.read_manifest(store, stage.key).parts]  # type: ignore[union-attr]
    reader = Reader(store, tmp_path / "r", cache_bytes=2 * max(sizes))
    for _ in range(2):
        for batch in reader.batches(stage.key, "samples"):
            assert batch.num_rows == 50
            held = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
            assert 1 <= len(held) <= 2
    reader.close()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("storage", ["moto"], indirect=True)
def test_a_damaged_cache_is_fetched_again(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    Reader(store, tmp_path / "r").table(stage.key, "samples")
    for cached in (tmp_path / "r").rglob("*.parquet"):
        cached.write_bytes(b"rubbish")
    assert Reader(store, tmp_path / "r").table(stage.key, "samples").num_rows == 10


def test_training_logs_keep_nan(local: Store, tmp_path: Path) -> None:
    row = {**_row(TRAINING_LOG, empty=True), "loss": float("nan")}
    stage = frozen(StageKind.SFT, {"x": 1})
    table = pa.Table.from_pylist([row], schema=TRAINING_LOG)
    finish_block(local, stage, 0, 1, Output(tables={"log": table}), tmp_path)
    m.commit(local, stage, 1)
    assert str(Reader(local, tmp_path / "r").table(stage.key, "log")["loss"][0].as_py()) == "nan"


def test_hashes_are_of_the_whole_file(local: Store, tmp_path: Path) -> None:
    stage = commit_samples(local, tmp_path)
    for part in m.read_manifest(local, stage.key).parts:  # type: ignore[union-attr]
        assert hashlib.sha256(local.get(f"{stage.key}/{part.path}")).hexdigest() == part.sha256
