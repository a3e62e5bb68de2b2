"""One process for each shard of a stage on a machine: advisory locks that the kernel frees when their holder dies.

Two processes for one shard do no harm in the store. But two runs that have stages in common would do the same work
twice, in the same scratch folder; the locks prevent that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from misstep.store.description import Storage


class ShardLocks:
    """Locks on the shards of stages that are in one store."""

    def __init__(self, storage: Storage, folder: Path | None = None) -> None:
        place = hashlib.sha256(f"{storage.endpoint or ''} {storage.uri}".encode()).hexdigest()[:16]
        self._folder = (folder or Path(tempfile.gettempdir()) / f"misstep-locks-{os.getuid()}") / place
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held: dict[tuple[str, int], int] = {}

    def acquire(self, key: str, shard: int) -> bool:
        """Take the lock without waiting, and return whether it was free."""
        descriptor = os.open(self._folder / f"{key}.{shard}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[key, shard] = descriptor
        return True

    def acquire_all(self, key: str, shards: Iterable[int]) -> bool:
        """Take the locks of shards that start together, all or none, and return whether all were free."""
        held: list[int] = []
        for shard in shards:
            if not self.acquire(key, shard):
                for other in held:
                    self.release(key, other)
                return False
            held.append(shard)
        return True

    def release(self, key: str, shard: int) -> None:
        """Release a held lock. The empty file stays: where it is removed, two runs could hold the lock at once."""
        os.close(self._held.pop((key, shard)))

    def close(self) -> None:
        for key, shard in list(self._held):
            self.release(key, shard)
