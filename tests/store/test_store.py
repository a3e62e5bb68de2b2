"""The same behaviour from a folder, from moto and from a real S3 server."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from misstep.errors import BadInput, MisstepError
from misstep.store import s3
from misstep.store.base import MissingError, Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.store import servers


def test_what_is_put_is_what_is_got(store: Store) -> None:
    assert store.put("a/b.json", b"one")
    assert store.get("a/b.json") == b"one"
    assert store.put("a/b.json", b"two")
    assert store.get("a/b.json") == b"two"


def test_odd_names_are_kept(store: Store) -> None:
    names = ["a/with space é.json", "a/50%25.json", "a/plus+and&.json", "a/#hash?.json"]
    for name in names:
        store.put(name, name.encode())
    assert [e.path for e in store.list("a/")] == sorted(names, key=str.encode)
    assert all(store.get(name) == name.encode() for name in names)


def test_create_if_absent_keeps_the_first(store: Store) -> None:
    assert store.put("m.json", b"first", if_absent=True)
    assert not store.put("m.json", b"second", if_absent=True)
    assert store.get("m.json") == b"first"


def test_empty_objects(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.get_range("empty", 0, 10) == b""


def test_ranges(store: Store) -> None:
    store.put("r", b"0123456789")
    assert store.get_range("r", 2, 3) == b"234"
    assert store.get_range("r", 8, 100) == b"89"
    assert store.get_range("r", 10, 5) == b""
    assert store.get_range("r", 3, 0) == b""


def test_missing_objects(store: Store, tmp_path: Path) -> None:
    store.put("there/file", b"x")
    for path in ("nothing", "there", "there/fil", "there/file2"):
        assert not store.exists(path)
        with pytest.raises(MissingError):
            store.get(path)
        with pytest.raises(MissingError):
            store.download(path, tmp_path / "out")
        with pytest.raises(MissingError):
            store.get_range(path, 0, 1)
        store.delete(path)
    assert store.exists("there/file")
    assert not (tmp_path / "out").exists()


def test_list_is_by_prefix_in_byte_order(store: Store) -> None:
    names = ["a-b/x", "a/x", "a/y/z", "a.b", "ab", "b", "a/é"]
    for name in names:
        store.put(name, name.encode())
    assert [e.path for e in store.list("")] == sorted(names, key=str.encode)
    assert [e.path for e in store.list("a/")] == ["a/x", "a/y/z", "a/é"]
    assert [e.path for e in store.list("a/y")] == ["a/y/z"]
    assert list(store.list("nothing/")) == []
    entry = next(iter(store.list("ab")))
    assert entry.size == 2 and entry.modified > 1.7e9


def test_a_list_longer_than_a_page(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04d}", b""), range(1100)))
    assert [e.path for e in store.list("many/")] == [f"many/{n:04d}" for n in range(1100)]


def test_delete(store: Store) -> None:
    store.put("a/b/c", b"x")
    store.delete("a/b/c")
    store.delete("a/b/c")
    assert list(store.list("")) == []
    store.put("a/b", b"now a file where a folder was")
    assert store.exists("a/b")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\\b", "a\nb"])
def test_paths_that_some_store_cannot_hold_are_refused(store: Store, path: str) -> None:
    with pytest.raises(MisstepError, match="cannot be the path"):
        store.put(path, b"x")


def test_files_come_and_go_by_streams(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    assert store.put_file("f", source)
    store.download("f", tmp_path / "new" / "target")
    assert (tmp_path / "new" / "target").read_bytes() == source.read_bytes()
    assert not store.put_file("f", tmp_path / "new" / "target", if_absent=True)
    with store.open_read("f") as stream:
        assert stream.read(10) == source.read_bytes()[:10]
        assert stream.read() == source.read_bytes()[10:]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["target"]


@pytest.mark.parametrize("storage", ["local", "versitygw"], indirect=True)  # moto checks and writes in two steps
def test_one_of_many_writers_wins(store: Store) -> None:
    for round_ in range(5):
        start = threading.Barrier(8)
        won: list[bytes] = []

        def write(data: bytes, path: str, start: threading.Barrier = start, won: list[bytes] = won) -> None:
            start.wait()
            if store.put(path, data, if_absent=True):
                won.append(data)

        path = f"race/{round_}.json"
        threads = [threading.Thread(target=write, args=(b"%d" % n * 1000, path)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get(path) == won[0]


@pytest.mark.parametrize("storage", ["local", "versitygw"], indirect=True)  # as above
def test_multipart_uploads_race_too(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    sources = [tmp_path / f"s{n}" for n in range(3)]
    for source in sources:
        source.write_bytes(os.urandom(12 << 20))
    won: list[Path] = []

    def write(source: Path) -> None:
        if store.put_file("big", source, if_absent=True):
            won.append(source)

    threads = [threading.Thread(target=write, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("big") == won[0].read_bytes()


def test_uploads_in_parts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(os.urandom(12 << 20))
    second.write_bytes(os.urandom(15 << 20))
    assert store.put_file("big", first, if_absent=True)
    assert not store.put_file("big", second, if_absent=True)
    assert store.get("big") == first.read_bytes()
    assert store.put_file("big", second)
    assert store.get("big") == second.read_bytes()


@pytest.mark.parametrize("storage", ["moto", "versitygw"], indirect=True)
def test_a_refused_upload_leaves_no_parts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(12 << 20))
    store.put("big", b"first")
    assert not store.put_file("big", source, if_absent=True)
    assert store.get("big") == b"first"
    assert isinstance(store, s3.S3Store)
    prefix = store.uri.removeprefix(f"s3://{servers.BUCKET}/")
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket=servers.BUCKET, Prefix=prefix)


@pytest.mark.parametrize("storage", ["moto", "versitygw"], indirect=True)
@pytest.mark.parametrize(("status", "code"), [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")])
def test_an_upload_in_parts_is_begun_again_after_a_conflict(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """409 says that two writes met; 412 is not believed where nothing is there."""
    monkeypatch.setattr(s3, "_PART", 5 << 20)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(12 << 20))
    assert isinstance(store, s3.S3Store)
    ends: list[str] = []

    def refuse_the_first(request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        ends.append(request.headers["If-None-Match"].decode())
        if len(ends) > 1:
            return None
        error = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        return AWSResponse(request.url, status, {}, SimpleNamespace(stream=lambda: [error]))

    store.client.meta.events.register("before-send.s3.CompleteMultipartUpload", refuse_the_first)
    assert store.put_file("big", source, if_absent=True)
    assert ends == ["*", "*"]
    assert store.get("big") == source.read_bytes()


def test_half_written_objects_are_listed_only_when_asked_for(store: Store) -> None:
    store.put("a", b"x")
    store.put(".tmp/left", b"y")
    assert [e.path for e in store.list("")] == ["a"]
    assert [e.path for e in store.list(".tmp/")] == [".tmp/left"]


def test_a_usable_store_passes_its_check(store: Store) -> None:
    store.check()
    store.check(write=True)
    assert list(store.list("")) == list(store.list(".tmp/")) == []


@pytest.mark.parametrize("uri", ["/tmp/x", "gs://bucket/x", "file://x", "file://./x", "s3://", ""])
def test_uris_that_name_no_store(uri: str) -> None:
    with pytest.raises(BadInput, match=r"spec\.storage\.uri"):
        open_store(Storage(uri=uri))


def test_file_uris_undo_percent_encoding(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    open_store(Storage(uri=folder.as_uri())).put("a", b"x")
    assert (folder / "a").read_bytes() == b"x"
