"""The node's model cache: real processes, real locks, real stores."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts.cache_entries import CacheEntry, entries_in
from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.reader import Reader
from misstep.errors import BadInput
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.disk import disk_error
from misstep.store.open import open_store
from tests.artifacts.cache_process import NAME, digest, said, using
from tests.artifacts.making import commit_model
from tests.store import servers


def filler(text: str, calls: list[str] | None = None):
    def fill(target: Path) -> None:
        if calls is not None:
            calls.append(text)
        target.mkdir()
        (target / NAME).write_text(text)

    return fill


def put(cache: ModelCache, text: str) -> Path | None:
    return cache.folder(digest(text), len(text), filler(text))


def names(root: Path) -> set[str]:
    return {f"sha256:{entry.name}" for entry in entries_in(root)}


def test_processes_at_once_fetch_once(tmp_path):
    with using(tmp_path, "a model") as one, using(tmp_path, "a model") as other, using(tmp_path, "another") as third:
        answers = [said(process) for process in (one, other)]
        assert sorted(answer["filled"] for answer in answers) == [False, True]
        assert all(answer["right"] for answer in [*answers, said(third)])
        assert answers[0]["folder"] == answers[1]["folder"]


def test_a_process_that_waits_for_another_to_fill_an_entry_gets_it_while_the_other_uses_it(tmp_path):
    cache, entry = ModelCache(tmp_path), CacheEntry(tmp_path, digest("a model").removeprefix("sha256:"))
    tmp_path.mkdir(exist_ok=True)
    with entry.open_lock() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # the other looks too, sees nothing, and will fill it
        with ThreadPoolExecutor() as threads:
            mine = threads.submit(put, cache, "a model")
            time.sleep(1.5)  # I want it alone meanwhile, and have tried for long
            filling = entry.reserve(7)
            filler("a model")(filling / "model")
            entry.publish(filling)
            assert mine.result(timeout=20) == entry.files
    cache.close()


def test_a_killed_fetch_is_cleaned_up_and_done_again(tmp_path):
    with using(tmp_path, "a model", hang=True) as killed:
        assert said(killed) == {"filling": True}
        with using(tmp_path, "a model") as waiting:  # it waits for the first, and takes over when that dies
            killed.kill()
            answer = said(waiting)
            assert answer["filled"]
            assert answer["right"]
    assert not list(tmp_path.glob("*.filling-*"))


def test_what_a_killed_fetch_of_another_model_left_is_no_loss_of_room(tmp_path):
    with using(tmp_path, "x" * 90, hang=True) as killed:
        said(killed)
        cache = ModelCache(tmp_path, 100)
        assert put(cache, "y" * 50) is None  # the living one has reserved its bytes
        killed.kill()
        killed.wait()
        assert put(cache, "y" * 50) is not None
    assert not list(tmp_path.glob("*.filling-*"))


def test_the_least_recently_used_goes_first_and_never_one_in_use(tmp_path):
    for age, text in enumerate(["a" * 40, "b" * 40]):
        cache = ModelCache(tmp_path, 100)
        put(cache, text)
        cache.close()
        marker = tmp_path / digest(text).removeprefix("sha256:") / "complete.json"
        os.utime(marker, (1000 + age, 1000 + age))
    with using(tmp_path, "a" * 40, 100) as user:
        assert not said(user)["filled"]
        cache = ModelCache(tmp_path, 100)
        assert put(cache, "c" * 40) is not None  # b goes: a is in use, and used later besides
        assert names(tmp_path) == {digest("a" * 40), digest("c" * 40)}
        assert put(cache, "d" * 40) is None  # both others are in use, one of them by this process
        assert names(tmp_path) == {digest("a" * 40), digest("c" * 40)}
        cache.close()
        assert put(cache, "d" * 60) is not None
        assert names(tmp_path) == {digest("a" * 40), digest("d" * 60)}
        assert ModelCache(tmp_path).clear() == 0  # both are held
        user.kill()
        user.wait()
        assert ModelCache(tmp_path).clear() == 40
    cache.close()
    assert ModelCache(tmp_path).clear() == 60
    assert not names(tmp_path)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=25), st.integers(0, 40))
def test_any_use_stays_within_the_limit_and_gives_the_right_files(tmp_path_factory, uses, limit):
    root = tmp_path_factory.mktemp("cache")
    cache = ModelCache(root, limit)
    held = set()
    for letter, close in uses:
        text = letter * (4 * (ord(letter) - ord("a")) + 1)
        folder = put(cache, text)
        if folder is not None:
            held.add(text)
            assert (folder / NAME).read_text() == text
        assert sum(entry.size() or 0 for entry in entries_in(root)) <= limit
        assert {digest(text) for text in held} <= names(root)
        if close:
            cache.close()
            held.clear()
    cache.close()


def test_the_default_limit_is_half_of_what_is_free(tmp_path):
    cache = ModelCache(tmp_path)
    room = os.statvfs(tmp_path)
    size = room.f_bavail * room.f_frsize
    assert cache.folder(digest("x"), size, filler("x")) is None
    assert cache.folder(digest("x"), size // 4, filler("x")) is not None


@pytest.mark.parametrize("harm", ["size", "bytes", "gone", "no marker"])
def test_a_damaged_entry_is_fetched_again(tmp_path, harm):
    cache = ModelCache(tmp_path)
    folder = put(cache, "a model")
    cache.close()
    assert folder is not None
    file = folder / NAME
    assert not stat.S_IMODE(file.stat().st_mode) & 0o222
    file.chmod(0o644)
    match harm:
        case "size":
            file.write_text("a mode")
        case "bytes":
            file.write_text("A MODEL")
        case "gone":
            file.unlink()
        case "no marker":
            (folder.parent / "complete.json").unlink()
    calls: list[str] = []
    again = ModelCache(tmp_path)
    assert again.folder(digest("a model"), 7, filler("a model", calls)) == folder
    assert calls == ["a model"]
    assert file.read_text() == "a model"


def test_a_damaged_entry_in_use_is_left_to_its_users(tmp_path):
    with using(tmp_path, "a model") as user:
        said(user)
        entry = CacheEntry(tmp_path, digest("a model").removeprefix("sha256:"))
        (entry.files / NAME).unlink()
        assert entry.in_use()
        assert put(ModelCache(tmp_path), "a model") is None


def test_errors_of_a_fetch_are_the_fetchers_and_leave_nothing(tmp_path):
    def broken(target: Path) -> None:
        target.mkdir()
        raise BadInput("model", "x", "No.")

    cache = ModelCache(tmp_path)
    with pytest.raises(BadInput, match="No"):
        cache.folder(digest("x"), 1, broken)
    assert not list(tmp_path.glob("*.filling-*"))
    assert put(cache, "x") is not None


def test_a_full_disk_is_no_error_of_the_cache(tmp_path):
    def full(target: Path) -> None:
        target.mkdir()
        error = OSError(errno.ENOSPC, "No space left on device")
        raise disk_error(error, "scratch folder", str(target)) from error

    assert ModelCache(tmp_path).folder(digest("x"), 1, full) is None
    assert not list(tmp_path.glob("*.filling-*"))


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("4096", 4096), ("2Gi", 2 << 30), ("5G", 5 * 10**9)])
def test_the_environment_names_folder_and_limit(tmp_path, monkeypatch, text, limit):
    monkeypatch.setenv("MISSTEP_CACHE_BYTES", text)
    monkeypatch.setenv("MISSTEP_CACHE", str(tmp_path / "c"))
    cache = ModelCache.of_environment()
    assert (cache.root, cache._limit) == (tmp_path / "c", limit)
    monkeypatch.delenv("MISSTEP_CACHE")
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "s"))
    assert ModelCache.of_environment().root == tmp_path / "s" / "models"


def test_settings_that_cannot_work(tmp_path, monkeypatch):
    monkeypatch.setenv("MISSTEP_CACHE_BYTES", "lots")
    with pytest.raises(BadInput, match=r"MISSTEP_CACHE_BYTES: lots\. Write"):
        ModelCache.of_environment()
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="MISSTEP_CACHE: "):
        put(ModelCache(tmp_path / "file"), "x")


def test_readers_of_a_remote_store_share_the_model(store: Store, storage: Storage, tmp_path: Path) -> None:
    stage = commit_model(store, tmp_path, b"weights" * 1000)
    cache = ModelCache(tmp_path / "cache")
    first = Reader(store, tmp_path / "r1", models=cache).folder(stage.key, "model/")
    assert (first / "model.safetensors").read_bytes() == b"weights" * 1000
    if storage.uri.startswith("file://"):
        assert not (tmp_path / "cache").exists()  # what lies on this machine is used where it lies
        return
    for entry in list(store.list(f"{stage.key}/files/")):
        store.delete(entry.path)
    other = ModelCache(tmp_path / "cache")
    assert Reader(open_store(storage), tmp_path / "r2", models=other).folder(stage.key, "model/") == first
    assert not (tmp_path / "r2").exists()
    other.close()
    cache.close()


def test_a_reader_without_room_in_the_cache_uses_its_own_folder(moto_endpoint, tmp_path, monkeypatch):
    servers.credentials(monkeypatch)
    store = open_store(servers.s3_storage(moto_endpoint, "no-room"))
    stage = commit_model(store, tmp_path)
    folder = Reader(store, tmp_path / "r", models=ModelCache(tmp_path / "cache", 3)).folder(stage.key, "model/")
    assert folder.is_relative_to(tmp_path / "r")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
