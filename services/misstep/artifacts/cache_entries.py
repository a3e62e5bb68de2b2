"""The contents of a model cache's folder: one entry per model, complete or being filled, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_NAME = re.compile(r"[0-9a-f]{64}")
_FILLING = re.compile(r"([0-9a-f]{64})\.filling-([0-9]+)")


@dataclass(frozen=True)
class CacheEntry:
    """One model, by the sha256 of its contents."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def files(self) -> Path:
        """The model's own folder."""
        return self.folder / "model"

    @property
    def _marker(self) -> Path:
        return self.folder / "complete.json"

    def open_lock(self) -> IO[bytes]:
        """Open its lock file, which is never removed: two processes must not lock different ones."""
        return (self.root / f"{self.name}.lock").open("ab")

    def is_whole(self) -> bool:
        """Return whether all files exist with their recorded sizes and time stamps."""
        listed = self._listed()
        try:
            return listed is not None and all(_stamp(self.files / name) == stamp for name, stamp in listed.items())
        except OSError:
            return False

    def size(self) -> int | None:
        """Return the bytes of its files, or None if it was never completed."""
        listed = self._listed()
        return None if listed is None else sum(size for size, _ in listed.values())

    def last_used(self) -> float:
        """Return when it was last used, in seconds since the epoch."""
        try:
            return self._marker.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def touch(self) -> None:
        """Note that it is used now."""
        with suppress(OSError):  # another user's file, or a read-only disk: its age is only a hint
            os.utime(self._marker)

    def reserve(self, size: int) -> Path:
        """Create the folder in which it is filled; its name contains the expected number of bytes."""
        for left in self.root.glob(f"{self.name}.filling-*"):
            shutil.rmtree(left)
        filling = self.root / f"{self.name}.filling-{size}"
        filling.mkdir()
        return filling

    def publish(self, filling: Path) -> None:
        """Make it visible; it is durable on return."""
        stamps = {}
        for path in sorted(p for p in (filling / "model").rglob("*") if p.is_file()):
            path.chmod(0o444)
            _sync(path)
            stamps[path.relative_to(filling / "model").as_posix()] = _stamp(path)
        (filling / self._marker.name).write_text(json.dumps({"files": stamps}, indent=1))
        _sync(filling / self._marker.name)
        filling.rename(self.folder)
        _sync(self.root)

    def remove(self) -> None:
        """Remove it. The caller must hold the exclusive lock."""
        self._marker.unlink(missing_ok=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def remove_unused(self) -> bool:
        """Remove it unless a process uses or fills it."""
        lock = try_lock(self)
        if lock is None:
            return False
        with lock:
            self.remove()
        return True

    def in_use(self) -> bool:
        """Return whether a process uses or fills it at the moment."""
        lock = try_lock(self)
        if lock is not None:
            lock.close()
        return lock is None

    def _listed(self) -> dict[str, list[int]] | None:
        try:
            files: dict[str, list[int]] = json.loads(self._marker.read_text())["files"]
        except (OSError, ValueError, KeyError):
            return None
        return files


def is_name(text: str) -> bool:
    """Return whether this can be the name of an entry, and so of a folder."""
    return _NAME.fullmatch(text) is not None


def entries_in(root: Path) -> list[CacheEntry]:
    """List the entries that are complete, or whose removal was interrupted."""
    if not root.is_dir():
        return []
    return [CacheEntry(root, path.name) for path in sorted(root.iterdir()) if _NAME.fullmatch(path.name)]


def half_filled_in(root: Path) -> Iterator[tuple[CacheEntry, Path, int]]:
    """Yield the entries that are being filled, or whose filling process was killed: entry, folder and final bytes."""
    for path in sorted(root.iterdir()):
        match = _FILLING.fullmatch(path.name)
        if match:
            yield CacheEntry(root, match[1]), path, int(match[2])


def try_lock(entry: CacheEntry) -> IO[bytes] | None:
    """Lock an entry exclusively until the file is closed, or return None if another process holds it."""
    lock = entry.open_lock()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
