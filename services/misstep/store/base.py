"""Where artifacts lie: a flat map from paths to bytes, on a disk or in S3, with create-if-absent.

No more is asked of a store than any S3-compatible server does: put, get, range, list, multipart upload,
``If-None-Match``, and single deletes. Neither pyarrow nor botocore is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from misstep.errors import MisstepError

_COMPONENT = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f]+")
TEMPORARY = ".tmp/"
"""Where a store keeps what is being written; listed only where this prefix is asked for."""


class Entry(NamedTuple):
    """One stored object: its path, size in bytes, and when it was written (seconds since the epoch)."""

    path: str
    size: int
    modified: float


class MissingError(MisstepError):
    """Nothing is stored under that path."""

    def __init__(self, uri: str, path: str) -> None:
        self.path = path
        super().__init__(f"{uri}: there is no {path}")


class UnreachableError(MisstepError):
    """The store did not answer, after retries. A later try may succeed."""


class Readable(Protocol):
    """The part of a store that finds and reads small objects."""

    @property
    def uri(self) -> str: ...

    def exists(self, path: str) -> bool: ...

    def get(self, path: str) -> bytes:
        """Return a (small) object. Raises MissingError."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield every object whose path starts with ``prefix`` (any string), in byte order of their paths.

        What stands for a folder is none: in a bucket an empty object whose key ends with a slash, as consoles make
        them, on a disk a link.
        """


class Store(Readable, Protocol):
    """Paths are relative, ``/``-separated, and never both an object and a folder of other objects.

    All methods raise BadInput where running again cannot help (permission, full disk, wrong bucket), and another
    MisstepError where it may.
    """

    def check(self, write: bool = False) -> None:
        """Touch the store once; with ``write`` create an object twice, which must fail the second time.

        Raises BadInput, naming the field that is wrong, where it cannot be used; an endpoint that does not answer as it
        should counts as wrong here (in a running stage it is an outage and worth a retry).
        """

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Store bytes: whole or not at all, and durable on return.

        Returns False, with nothing written, where ``if_absent`` is set and an object is there already (after a lost
        answer it may be this caller's own).
        """

    def put_file(self, path: str, local: Path, *, if_absent: bool = False) -> bool:
        """Like ``put``, streaming a local file."""

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``; fewer at the object's end. Raises MissingError."""

    def open_read(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open an object for streaming from its start. Raises MissingError."""

    def download(self, path: str, local: Path, *, most: int | None = None) -> None:
        """Stream an object, or its first ``most`` bytes, into a local file, which appears only when it is complete.
        Raises MissingError."""

    def delete(self, path: str) -> None:
        """Remove an object, whatever its name; nothing happens where there is none."""

    def local_path(self, path: str) -> Path | None:
        """Return where the object lies on this machine's disk, or None where it does not; not to be written to."""


def valid_path(path: str) -> bool:
    """Tell whether every store can hold an object of that path."""
    return all(_COMPONENT.fullmatch(part) for part in path.split("/"))


def check_path(path: str) -> str:
    """Return the path if it is valid; a MisstepError says which is not."""
    if not valid_path(path):
        raise MisstepError(f"{path!r} cannot be the path of a stored object")
    return path
