"""Models on this node's disk, fetched from a remote store once and shared by all stages' processes.

An entry is named by its contents: ``<root>/<sha256>/model`` holds the files, ``<root>/<sha256>/complete.json`` their
sizes and time stamps. It is filled under another name and renamed when complete. A process that uses the entry holds a
shared lock on ``<root>/<sha256>.lock``; a process that fills or removes it holds an exclusive one. The kernel releases
the lock when its holder dies. So two processes fetch an entry only once, nothing in use is removed, and leftovers of a
killed process are recognised.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import structlog

from misstep.artifacts.cache_entries import CacheEntry, entries_in, half_filled_in, is_name, try_lock
from misstep.artifacts.scratch import scratch_root
from misstep.errors import BadInput, MisstepError
from misstep.store.disk import disk_errors, is_full_disk

_log = structlog.get_logger(__name__)

FOLDER, BYTES = "MISSTEP_CACHE", "MISSTEP_CACHE_BYTES"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_QUANTITY = re.compile(r"([0-9]+)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_TRIES = 5
_PATIENCE_SECONDS = 1.0
"""How long to try to lock a damaged entry: processes that check it hold it for an instant, those that use it for
long."""
_RETRY_SECONDS = 0.02


class ModelCache:
    """A process's view of the node's cache. ``close`` releases what it uses.

    Args:
        root: the folder, created if missing; any number of processes may share it.
        limit_bytes: the most that all entries may hold together; by default half of the disk space that is free or used
            by them.
    """

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        self.root, self._limit = root, limit_bytes
        self._used: dict[str, IO[bytes]] = {}

    @classmethod
    def of_environment(cls) -> ModelCache:
        """Open ``$MISSTEP_CACHE`` (default: ``models`` in the scratch folder), bounded by ``$MISSTEP_CACHE_BYTES``
        (a number, or a quantity such as ``200Gi``; 0 turns the cache off). Raises BadInput."""
        root = os.environ.get(FOLDER)
        text = os.environ.get(BYTES, "").strip()
        match = _QUANTITY.fullmatch(text)
        if text and match is None:
            raise BadInput(BYTES, text, "Write a number of bytes, or a quantity such as 200Gi.")
        limit = int(match[1]) * _UNITS[match[2] or ""] if match else None
        return cls(Path(root) if root else scratch_root() / "models", limit)

    def folder(self, digest: str, size: int, fill: Callable[[Path], None]) -> Path | None:
        """Return the folder of the model with that digest. Do not write to it; it is not removed before ``close``.

        Args:
            digest: ``sha256:<hex>`` of the files, as ``folder_digest`` gives it.
            size: bytes of the files.
            fill: writes the checked files into a folder that does not exist yet; called if the cache lacks them.

        Returns:
            None if they do not fit into the cache: fetch them to another place.

        Raises:
            BadInput: the cache's folder cannot be used, or the digest is malformed. Errors of ``fill`` pass through,
                except for a full disk.
        """
        name = digest.removeprefix("sha256:")
        if not is_name(name):
            raise BadInput("digest", digest, "Write sha256: and 64 hexadecimal digits.")
        if name not in self._used:
            lock = self._acquire(CacheEntry(self.root, name), size, fill)
            if lock is None:
                return None
            self._used[name] = lock
        return CacheEntry(self.root, name).files

    def close(self) -> None:
        """Release all entries. They stay in the cache."""
        while self._used:
            self._used.popitem()[1].close()

    def clear(self) -> int:
        """Remove all entries that no process uses, and return the bytes freed."""
        with self._alone():
            self._remove_half_filled()
            sizes = [(entry.size() or 0, entry) for entry in entries_in(self.root)]
            return sum(size for size, entry in sizes if entry.remove_unused())

    def _acquire(self, entry: CacheEntry, size: int, fill: Callable[[Path], None]) -> IO[bytes] | None:
        if self._limit is not None and size > self._limit:
            return None
        with disk_errors(FOLDER, str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as closing:
            with disk_errors(FOLDER, str(self.root)):
                lock = closing.enter_context(entry.open_lock())
            gives_up = time.monotonic() + _PATIENCE_SECONDS
            fills = 0
            while True:
                _share(lock)
                if entry.is_whole():
                    entry.touch()
                    closing.pop_all()
                    return lock
                if _take_alone(lock):
                    # Between filling an entry and sharing it, another process may have removed it.
                    if not entry.is_whole():
                        if fills == _TRIES or not self._fill(entry, size, fill):
                            return None
                        fills += 1
                elif entry.folder.exists() and time.monotonic() > gives_up:
                    _log.warning("a damaged model in the cache is in use; fetching another copy", entry=entry.name)
                    return None
                else:
                    time.sleep(random.uniform(0.5, 1.5) * _RETRY_SECONDS)

    def _fill(self, entry: CacheEntry, size: int, fill: Callable[[Path], None]) -> bool:
        """Fill an entry that this process has locked exclusively; return False if there is no room."""
        with disk_errors(FOLDER, str(self.root)):
            entry.remove()
            with self._alone():
                if not self._make_room(size):
                    _log.warning("the model cache has no room", entry=entry.name, bytes=size)
                    return False
                filling = entry.reserve(size)
        started = time.monotonic()
        try:
            fill(filling / "model")
            with disk_errors(FOLDER, str(self.root)):
                entry.publish(filling)
        except MisstepError as error:
            if not is_full_disk(error):
                raise
            _log.warning("the disk is full; the model is not cached", entry=entry.name, bytes=size)
            return False
        finally:
            shutil.rmtree(filling, ignore_errors=True)
        seconds = round(time.monotonic() - started, 3)
        _log.info("model fetched into the cache", entry=entry.name, bytes=size, seconds=seconds)
        return True

    def _alone(self) -> IO[bytes]:
        """Prevent others from freeing or reserving room, until the returned file is closed."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = (self.root / "room.lock").open("ab")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _make_room(self, size: int) -> bool:
        held = self._remove_half_filled()
        whole = []
        for entry in entries_in(self.root):
            entry_size = entry.size()
            if entry_size is None:  # a removal was killed, or a filler is about to start over
                entry.remove_unused()
            else:
                whole.append((entry.last_used(), entry_size, entry))
                held += entry_size
        limit = self._limit
        if limit is None:
            limit = (shutil.disk_usage(self.root).free + held) // 2
        for _, entry_size, entry in sorted(whole, key=lambda each: each[0]):
            if held + size <= limit:
                break
            if entry.remove_unused():
                _log.info("model removed from the cache to make room", entry=entry.name, bytes=entry_size)
                held -= entry_size
        return held + size <= limit

    def _remove_half_filled(self) -> int:
        """Remove leftovers of killed processes, and return the bytes that running ones have reserved."""
        reserved = 0
        for entry, folder, size in half_filled_in(self.root):
            lock = try_lock(entry)
            if lock is None:
                reserved += size
            else:
                with lock:
                    shutil.rmtree(folder, ignore_errors=True)
        return reserved


def _share(lock: IO[bytes]) -> None:
    """Take a shared lock; wait for a process that fills or removes the entry."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("waiting for another process that fetches the same model")
        fcntl.flock(lock, fcntl.LOCK_SH)


def _take_alone(lock: IO[bytes]) -> bool:
    """Exchange a shared lock for an exclusive one, or for none if others hold it.

    Never waits: the other process may fill the entry and then use it, with a shared lock, for hours.
    """
    fcntl.flock(lock, fcntl.LOCK_UN)  # others that try the same must not wait for our shared lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
