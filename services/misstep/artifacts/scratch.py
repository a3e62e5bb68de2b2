"""A stage's scratch folder: the same stage finds it again after a restart, and no twin shares it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from misstep.errors import BadInput
from misstep.store.disk import disk_errors

_MOST_TWINS = 64


def scratch_root() -> Path:
    """Return the folder of all stages' scratch folders on this machine.

    Raises BadInput if the folder in the system's temporary folder belongs to another user, who could redirect writes.
    """
    given = os.environ.get("MISSTEP_SCRATCH")
    if given:
        return Path(given)
    own = Path(tempfile.gettempdir(), f"misstep-{os.getuid()}")
    with disk_errors("MISSTEP_SCRATCH", str(own)):
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        fix = "This is a link, or another user made it. Set MISSTEP_SCRATCH to a folder of your own."
        raise BadInput("MISSTEP_SCRATCH", str(own), fix)
    return own


class Scratch:
    """``<root>/<key>-<shard>-<n>`` with the first n that no running process holds.

    The root is ``$MISSTEP_SCRATCH``, or ``misstep-<user id>`` in the system's temporary folder. The lock ends with the
    process, so a killed stage's folder is free for the next run. Raises BadInput if the disk is full or not writable.
    """

    def __init__(self, key: str, shard: int) -> None:
        root = scratch_root()
        with disk_errors("MISSTEP_SCRATCH", str(root)):
            root.mkdir(parents=True, exist_ok=True)
            for n in range(_MOST_TWINS):
                self.folder = root / f"{key}-{shard}-{n}"
                lock = _lock(self.folder.with_suffix(".lock"))
                if lock is not None:
                    self._lock = lock
                    break
            else:
                raise BlockingIOError(f"{_MOST_TWINS} processes run shard {shard} of {key} on this machine")
            self.folder.mkdir(exist_ok=True)
            for half_written in self.folder.glob("write-*"):
                shutil.rmtree(half_written)

    def remove(self) -> None:
        """Remove the folder; called once the stage is committed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_suffix(".lock").unlink(missing_ok=True)

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def _lock(path: Path) -> IO[str] | None:
    """Lock a lock file, or return None if a running process holds it."""
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            pass
        file.close()  # its last holder removed it between our opening and locking it
