"""The store of artifacts: a flat map from paths to bytes, on a disk or in S3, with create-if-absent.

A store needs only what every S3-compatible server supports: put, get, range, list, multipart upload, ``If-None-Match``,
and single deletes. Neither pyarrow nor botocore is imported here.
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
"""The prefix of objects that are being written; listed only on request for this prefix."""


class Entry(NamedTuple):
    """One stored object: its path, size in bytes, and when it was written (seconds since the epoch)."""

    path: str
    size: int
    modified: float


class MissingError(MisstepError):
    """There is no object at that path."""

    def __init__(self, uri: str, path: str) -> None:
        self.path = path
        super().__init__(f"{uri}: there is no {path}")


class UnreachableError(MisstepError):
    """The store did not answer, even after retries. A later try may succeed."""


class Readable(Protocol):
    """The part of a store's interface that finds and reads small objects."""

    @property
    def uri(self) -> str: ...

    def exists(self, path: str) -> bool: ...

    def get(self, path: str) -> bytes:
        """Return a (small) object. Raises MissingError."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield every object whose path starts with ``prefix`` (any string), in byte order of their paths.

        Folder markers and links are left out: in a bucket, empty objects whose key ends with a slash, as consoles
        create them; on a disk, links.
        """


class Store(Readable, Protocol):
    """Paths are relative, ``/``-separated, and never both an object and a folder of other objects.

    All methods raise BadInput if running again cannot help (permission, full disk, wrong bucket), and another
    MisstepError if it may.
    """

    def check(self, write: bool = False) -> None:
        """Access the store once; with ``write`` create an object twice, which must fail the second time.

        Raises BadInput, naming the wrong field, if the store cannot be used. An endpoint that does not answer properly
        counts as wrong here (in a running stage it is an outage and worth a retry).
        """

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Store bytes: completely or not at all, and durable on return.

        Returns False, and writes nothing, if ``if_absent`` is set and the object exists already (after a lost answer it
        may be this caller's own).
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
        """Remove an object, whatever its name; do nothing if there is none."""

    def local_path(self, path: str) -> Path | None:
        """Return the object's path on this machine's disk, or None if it is not there. Do not write to it."""


def valid_path(path: str) -> bool:
    """Return whether every store can hold an object with that path."""
    return all(_COMPONENT.fullmatch(part) for part in path.split("/"))


def check_path(path: str) -> str:
    """Return the path if it is valid. Raises MisstepError if it is not."""
    if not valid_path(path):
        raise MisstepError(f"{path!r} cannot be the path of a stored object")
    return path
