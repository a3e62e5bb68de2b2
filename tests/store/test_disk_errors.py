"""A real full disk and missing permission."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.reader import Reader
from misstep.errors import BadInput
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.artifacts.making import commit_model
from tests.store import servers


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "misstep-test", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_nothing_is_left(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(Storage(uri=f"file://{small_disk}/store"))
    store.put("small", b"x" * 1000)
    big = tmp_path / "big"
    big.write_bytes(b"y" * (2 << 20))
    for write in (lambda: store.put("a/big", big.read_bytes()), lambda: store.put_file("a/big", big)):
        with pytest.raises(BadInput, match=r"spec\.storage\.uri: file:.*full") as caught:
            write()
        assert caught.value.exit_code == 64
        assert [e.path for e in store.list("")] == ["small"]
        assert list(store.list(".tmp/")) == []
    assert store.get("small") == b"x" * 1000


def test_a_file_size_limit_is_named(tmp_path: Path) -> None:
    script = f"""
        import resource
        from pathlib import Path
        from misstep.store.local import LocalStore
        from misstep.errors import BadInput
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        store = LocalStore(Path({str(tmp_path)!r}))
        store.put("fits", b"x" * 50_000)
        try:
            store.put("big", b"x" * 200_000)
        except BadInput as error:
            print(error)
        print(sorted(entry.path for prefix in ("", ".tmp/") for entry in store.list(prefix)))
    """
    assert resource.RLIM_INFINITY != 100_000
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a quota is used up" in done.stdout
    assert done.stdout.splitlines()[-1] == "['fits']"


def _as_nobody(code: str) -> str:
    """Run code as a user without rights and return what it prints; as this user, where that is not root."""
    drop = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" if os.getuid() == 0 else ""
    imports = "from pathlib import Path\nfrom misstep.store.local import LocalStore\n"
    imports += "from misstep.errors import BadInput\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + drop + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that other users can reach: pytest's own are closed to them."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-of-"):
            break
    for part in (tmp_path, *tmp_path.parents):
        part.chmod(part.stat().st_mode | 0o055)
        if part == folder:
            break
    return tmp_path


@pytest.mark.parametrize("action", ["store.put('a', b'x')", "store.check(write=True)", "store.put('key/a', b'x')"])
def test_a_folder_without_permission_to_write(open_folder: Path, action: str) -> None:
    root = open_folder / "store"
    (root / "key").mkdir(parents=True)
    for folder in (root / "key", root):
        folder.chmod(0o555)
    out = _as_nobody(f"""
        store = LocalStore(Path({str(root)!r}))
        store.check()
        try:
            {action}
        except BadInput as error:
            print(error)
    """)
    assert out.startswith(f"spec.storage.uri: file://{root}. Permission denied")
    assert "permission to read and write" in out


def test_a_folder_without_permission_to_read(open_folder: Path) -> None:
    root = open_folder / "store"
    (root / "closed").mkdir(parents=True)
    (root / "closed" / "a").write_bytes(b"x")
    (root / "closed").chmod(0o000)
    out = _as_nobody(f"""
        store = LocalStore(Path({str(root)!r}))
        for act in (lambda: store.get("closed/a"), lambda: list(store.list("")), lambda: store.exists("closed/a"),
                    lambda: store.delete("closed/a")):
            try:
                act()
            except BadInput as error:
                print(error)
    """)
    (root / "closed").chmod(0o755)
    assert out.count("Permission denied") == 4


def test_stored_files_are_read_only(local: Store) -> None:
    local.put("a", b"x")
    path = local.local_path("a")
    assert path is not None
    assert path.stat().st_mode & 0o222 == 0


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(Storage(uri=f"file://{tmp_path}/file"))
    for act in (store.check, lambda: store.put("a", b"x")):
        with pytest.raises(BadInput, match=r"spec\.storage\.uri"):
            act()


def test_a_path_cannot_be_object_and_folder_at_once(local: Store) -> None:
    local.put("a", b"x")
    with pytest.raises(BadInput):
        local.put("a/b", b"y")
    local.put("c/d", b"x")
    with pytest.raises(BadInput):
        local.put("c", b"y")


def test_concurrent_puts_and_deletes_in_one_folder(local: Store) -> None:
    import threading

    def work(name: str) -> None:
        for _ in range(200):
            local.put(f"deep/er/{name}", b"x")
            local.delete(f"deep/er/{name}")

    errors: list[BaseException] = []

    def guarded(name: str) -> None:
        try:
            work(name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f"{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(local.list("")) == []


def test_killed_while_writing_nothing_shows(tmp_path: Path) -> None:
    """A process is killed at many moments while it writes objects of 3 MB; each is whole or absent."""
    import random
    import time

    root = tmp_path / "store"
    code = f"""
        import itertools
        store = LocalStore(Path({str(root)!r}))
        for n in itertools.count():
            store.put(f"d/{{n % 7}}", bytes([n % 7]) * 3_000_000)
            store.put(f"once/{{n}}", bytes([n % 7]) * 3_000_000, if_absent=True)
    """
    imports = "from pathlib import Path\nfrom misstep.store.local import LocalStore\n"
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", imports + textwrap.dedent(code)], env={**os.environ, "PYTHONPATH": "services"}
        )
        while not (root / ".tmp").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.02, 0.3))
        process.kill()
        process.wait()
        store = open_store(Storage(uri=f"file://{root}"))
        seen = [store.get(entry.path) for entry in store.list("")]
        assert seen
        assert all(len(data) == 3_000_000 and len(set(data)) == 1 for data in seen)


def test_a_model_that_fills_the_caches_disk_goes_to_the_readers_own_folder(
    small_disk: Path, tmp_path: Path, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.credentials(monkeypatch)
    store = open_store(servers.s3_storage(moto_endpoint, "full-cache"))
    weights = b"w" * (2 << 20)
    stage = commit_model(store, tmp_path, weights)
    cache = ModelCache(small_disk / "models", 8 << 20)
    folder = Reader(store, tmp_path / "r", models=cache).folder(stage.key, "model/")
    assert folder.is_relative_to(tmp_path / "r")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert not [path for path in (small_disk / "models").iterdir() if path.is_dir()]
