from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from misstep.artifacts import digest as module
from misstep.artifacts.digest import digest_path
from misstep.artifacts.files import hash_file
from misstep.errors import BadInput


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "misstep" / "digests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "config.json").write_text("{}")
    (root / "sub" / "weights é.bin").write_bytes(b"w" * 1000)
    _age(root)
    return root


def _age(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1.7e9, 1.7e9))


def test_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    assert digest_path(tmp_path / "f") == "sha256:" + hashlib.sha256(b"content").hexdigest()


def test_a_folder_is_what_sha256sum_prints(folder: Path) -> None:
    command = "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs -d '\\n' sha256sum"
    listing = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True).stdout
    assert digest_path(folder) == "sha256:" + hashlib.sha256(listing).hexdigest()


def test_place_and_times_do_not_matter(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile)
    (tmp_path / "link").symlink_to(folder)
    linked = tmp_path / "linked"
    (linked / "sub").mkdir(parents=True)
    (linked / "config.json").symlink_to(folder / "config.json")
    (linked / "sub" / "weights é.bin").symlink_to(folder / "sub" / "weights é.bin")
    expected = digest_path(folder)
    for copy in (tmp_path / "elsewhere" / "copy", tmp_path / "link", linked):
        assert digest_path(copy) == expected


def test_hidden_files_and_caches_do_not_matter(folder: Path) -> None:
    expected = digest_path(folder)
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.lock").write_text("x")
    (folder / "sub" / ".hidden").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert digest_path(folder) == expected


@pytest.mark.parametrize("change", ["content", "name", "new", "removed"])
def test_contents_and_names_matter(folder: Path, change: str) -> None:
    before = digest_path(folder)
    config = folder / "config.json"
    if change == "content":
        config.write_text("[]")
    elif change == "name":
        config.rename(folder / "config2.json")
    elif change == "new":
        (folder / "new").write_text("")
    else:
        config.unlink()
    assert digest_path(folder) != before


def test_nothing_is_hashed_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest_path(folder)
    hashed: list[Path] = []
    monkeypatch.setattr(module, "hash_file", lambda path: hashed.append(path) or hash_file(path))
    assert digest_path(folder) == first
    assert hashed == []
    os.utime(folder / "config.json", (1.71e9, 1.71e9))
    assert digest_path(folder) == first
    assert hashed == [folder / "config.json"]


def test_a_change_of_the_same_size_is_seen(folder: Path) -> None:
    """Also where the clock of the file system is too coarse to show it: young files are not remembered."""
    seen = set()
    for content in ("[]", "()", "<>", "{}"):
        (folder / "config.json").write_text(content)
        os.utime(folder / "config.json", (time.time() // 1, time.time() // 1))
        seen.add(digest_path(folder))
    assert len(seen) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"config.json": 1}', '{"config.json": [2, 1700000000000000000]}'])
def test_a_damaged_cache_is_ignored(folder: Path, cache: Path, content: str) -> None:
    expected = digest_path(folder)
    for file in cache.iterdir():
        file.write_text(content)
    assert digest_path(folder) == expected


def test_without_a_place_for_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digest_path(folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digest_path(folder) == expected


def test_links_in_a_circle_end(folder: Path) -> None:
    expected = digest_path(folder)
    (folder / "sub" / "up").symlink_to(folder)
    assert digest_path(folder) == expected


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "link").symlink_to(tmp_path / "nowhere")
    for name, problem in (("nothing", "no such file"), ("empty", "holds no files"), ("broken", "cannot be read")):
        with pytest.raises(BadInput, match=f"spec.model: .*{name}.*{problem}"):
            digest_path(tmp_path / name, "spec.model")
