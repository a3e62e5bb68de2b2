"""A store in a folder. Objects appear by ``link`` or ``rename``, so they are complete or absent, even after a crash."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from misstep.errors import BadInput, MisstepError
from misstep.store.base import TEMPORARY, Entry, MissingError, check_path
from misstep.store.disk import disk_errors

_FIELD = "spec.storage.uri"
_CHUNK = 1 << 20
_TRIES = 200
"""How often concurrent deletes may remove the empty folder of a write before that counts as an error."""
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalStore:
    """Objects are files below ``root``, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        return f"file://{self.root}"

    def check(self, write: bool = False) -> None:
        with disk_errors(_FIELD, self.uri):
            if self.root.exists() and not self.root.is_dir():
                raise BadInput(_FIELD, self.uri, "This is a file; name a folder.")
            if self.root.exists():
                os.scandir(self.root).close()
            if write:
                probe = f"{TEMPORARY}probe-{secrets.token_hex(8)}"
                try:
                    if not self.put(probe, b"", if_absent=True) or self.put(probe, b"", if_absent=True):
                        raise BadInput(
                            _FIELD, self.uri, "This file system allows creating the same file twice; choose another."
                        )
                finally:
                    self.delete(probe)

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._publish(path, lambda file: file.write(data), if_absent)

    def put_file(self, path: str, local: Path, *, if_absent: bool = False) -> bool:
        with local.open("rb") as source:
            return self._publish(path, lambda file: shutil.copyfileobj(source, file, _CHUNK), if_absent)

    def get(self, path: str) -> bytes:
        with self.open_read(path) as file:
            return file.read()

    def get_range(self, path: str, start: int, length: int) -> bytes:
        with self.open_read(path) as file:
            file.seek(start)
            return file.read(length)

    @contextmanager
    def open_read(self, path: str) -> Iterator[BinaryIO]:
        with disk_errors(_FIELD, self.uri):
            try:
                file = self._at(path).open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise MissingError(self.uri, path) from None
        with file:
            yield file

    def download(self, path: str, local: Path, *, most: int | None = None) -> None:
        with self.open_read(path) as source:
            save_stream(source, local, most)

    def list(self, prefix: str) -> Iterator[Entry]:
        with disk_errors(_FIELD, self.uri):
            yield from self._walk(self.root, "", prefix)

    def exists(self, path: str) -> bool:
        with disk_errors(_FIELD, self.uri):
            return self._at(path).is_file()

    def delete(self, path: str) -> None:
        target = self._at(path, listed=True)
        with disk_errors(_FIELD, self.uri):
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            for folder in target.parents:
                if folder in (self.root, self.root / TEMPORARY):
                    return
                try:
                    folder.rmdir()
                except OSError:  # not empty, or another writer has just filled or removed it
                    return

    def local_path(self, path: str) -> Path | None:
        return self._at(path)

    def _at(self, path: str, listed: bool = False) -> Path:
        """Return the path of an object. Raises BadInput if the path contains a link: through a link, anyone who can
        write to the store could redirect reads, writes and deletes to other folders, with our permissions.

        Args:
            listed: accept any file name, also one that no stage could have written.
        """
        target, parts = self.root, path.split("/")
        if not listed or {"", ".", ".."} & set(parts) or "\0" in path:
            check_path(path)
        with disk_errors(_FIELD, self.uri):
            for part in parts:
                target /= part
                if target.is_symlink():
                    fix = (
                        "This is a link, and links inside a store are not followed. Check who made it, then remove it."
                    )
                    raise BadInput(_FIELD, str(target), fix)
        return target

    def _publish(self, path: str, write: Callable[[BinaryIO], object], if_absent: bool) -> bool:
        target = self._at(path)
        with disk_errors(_FIELD, self.uri):
            if if_absent and target.exists():
                return False
            with self._temporary(write) as temporary:
                return self._move(temporary, target, if_absent)

    @contextmanager
    def _temporary(self, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
        """Write a file next to the objects, durable and read-only, so that nobody can change an object through a
        link."""
        folder = self.root / TEMPORARY
        _make_folder(folder)
        temporary = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _move(self, temporary: Path, target: Path, if_absent: bool) -> bool:
        for _ in range(_TRIES):
            try:
                _make_folder(target.parent)
                if if_absent and not _link(temporary, target):
                    return False
                if not if_absent:
                    temporary.replace(target)
                _sync_folder(target.parent)
            except FileNotFoundError:  # a delete has just removed the folder, empty until now
                continue
            except OSError as error:
                if if_absent and error.errno in _NO_LINKS:
                    fix = "This file system has no hard links, which create-if-absent needs; choose another, or S3."
                    raise BadInput(_FIELD, self.uri, fix) from error
                raise
            else:
                return True
        raise MisstepError(f"{self.uri}: the folder of {target.name} is being removed again and again")

    def _walk(self, folder: Path, below: str, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as found:
                real = [child for child in found if not child.is_symlink()]
                children = [(child.name + "/" * child.is_dir(), child) for child in real]
        except (FileNotFoundError, NotADirectoryError):
            return
        # With its trailing slash a folder sorts among files in the order in which S3 sorts the keys below it.
        for name, child in sorted(children, key=lambda pair: os.fsencode(pair[0])):
            path = below + name
            if name.endswith("/"):
                if path == TEMPORARY and not prefix.startswith(TEMPORARY):
                    continue
                if path.startswith(prefix) or prefix.startswith(path):
                    yield from self._walk(folder / name, path, prefix)
            elif path.startswith(prefix):
                try:
                    stat = child.stat()
                except FileNotFoundError:
                    continue
                yield Entry(path, stat.st_size, stat.st_mtime)


def save_stream(source: BinaryIO, local: Path, most: int | None = None) -> None:
    """Copy a stream, or its first ``most`` bytes, into a local file that appears only once it is complete."""
    with disk_errors("scratch folder", str(local.parent)):
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f"{local.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as file:
                if most is None:
                    shutil.copyfileobj(source, file, _CHUNK)
                else:
                    _copy(source, file, most)
            partial.replace(local)
        finally:
            partial.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, most: int) -> None:
    while most > 0 and (data := source.read(min(_CHUNK, most))):
        target.write(data)
        most -= len(data)


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:  # made by another writer, and perhaps removed again: an error only if it is a file
        if folder.is_file():
            raise
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # emptied and removed already: nothing is left to make durable
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
