"""The digest with which external data and models enter a stage's key. It depends on the contents, not on the
location."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from misstep.artifacts.files import hash_file
from misstep.errors import BadInput

_IGNORED = {"__pycache__"}
_SETTLED_SECONDS = 2.0
"""A file younger than this may still change without its time stamp changing: its hash is not remembered."""


def digest_path(path: Path, field: str = "path") -> str:
    """Return ``sha256:<hex>`` of a file, or of a folder.

    A folder's digest is the sha256 of the lines ``<sha256 of the file>  <relative path>\\n``, sorted by path, as
    ``sha256sum`` prints them; hidden files and folders and ``__pycache__`` are left out, links are followed. Hashes of
    files are remembered by path, size and time stamp under ``~/.cache/misstep`` (or ``$XDG_CACHE_HOME/misstep``).
    Raises BadInput, naming ``field``, where the path is missing, unreadable or an empty folder.
    """
    hashes = digest_files(path, field)
    return f"sha256:{hashes[path.name]}" if path.is_file() else folder_digest(hashes)


def digest_files(path: Path, field: str = "path") -> dict[str, str]:
    """Return the sha256, in hex, of each file that enters a path's digest: the one file, by its name, or the files of a
    folder, by their paths in it. Raises BadInput as `digest_path` does."""
    try:
        if path.is_file():
            return _hashes(path, {path.name: path})
        if not path.is_dir():
            raise BadInput(field, str(path), "There is no such file or folder.")
        hashes = _hashes(path, dict(_files(path)))
    except OSError as error:
        raise BadInput(field, str(path), f"It cannot be read ({error}).") from error
    if not hashes:
        raise BadInput(field, str(path), "The folder holds no files.")
    return hashes


def folder_digest(hashes: Mapping[str, str]) -> str:
    """Return the digest of a folder from its files' relative paths and sha256, in hex."""
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _ignored(name)]
        for name in names:
            if not _ignored(name):
                path = Path(folder, name)
                yield path.relative_to(root).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED


def _hashes(root: Path, files: dict[str, Path]) -> dict[str, str]:
    memory = _Memory(root)
    hashes = {name: memory.hash(name, path) for name, path in files.items()}
    memory.save()
    return hashes


class _Memory:
    """A cache of the hashes of the files below one root, in one small file; entries that cannot be read are ignored."""

    def __init__(self, root: Path) -> None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
        self._path = base / "misstep" / "digests" / f"{name}.json"
        self._known = self._load()
        self._used: dict[str, list[int | str]] = {}

    def hash(self, name: str, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(name)
        if isinstance(known, list) and known[:2] == stamp and len(known) == 3 and isinstance(known[2], str):
            self._used[name] = known
            return known[2]
        sha256 = hash_file(path)
        if time.time() - stat.st_mtime > _SETTLED_SECONDS:
            self._used[name] = [*stamp, sha256]
        return sha256

    def save(self) -> None:
        if self._used == self._known:
            return
        partial = self._path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self._used))
            partial.replace(self._path)
        except OSError:  # a read-only home or a full disk: the next plan hashes again
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _load(self) -> dict[str, list[int | str]]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
