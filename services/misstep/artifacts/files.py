"""Stored files on this machine's disk, with their bytes checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from misstep.artifacts.manifest import Damaged
from misstep.store.base import MissingError, Store
from misstep.store.disk import disk_errors

_CHUNK = 1 << 20


def hash_file(path: Path) -> str:
    """Return the sha256 of a local file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem_of(file: Path, size: int, sha256: str) -> str | None:
    """Return what is wrong with a file that should have this size and hash, or None."""
    actual = file.stat().st_size
    if actual != size:
        return f"{actual} bytes instead of {size}"
    found = hash_file(file)
    return None if found == sha256 else f"sha256 {found[:16]}... instead of {sha256[:16]}..."


def stored_problem(store: Store, path: str, size: int, sha256: str) -> str | None:
    """Return what is wrong with a stored object, or None. Streams it once."""
    local = store.local_path(path)
    try:
        if local is not None:
            return problem_of(local, size, sha256)
        digest, actual = hashlib.sha256(), 0
        with store.open_read(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                actual += len(chunk)
    except (MissingError, FileNotFoundError):
        return "missing"
    if actual != size:
        return f"{actual} bytes instead of {size}"
    return None if digest.hexdigest() == sha256 else f"sha256 {digest.hexdigest()[:16]}... instead of {sha256[:16]}..."


def fetch(store: Store, path: str, size: int, sha256: str, target: Path, *, link: bool) -> None:
    """Fetch a stored object to ``target`` and check it.

    With ``link``, an object on this machine is linked, not copied: the target must not be written to. A download with
    wrong contents is tried once more. Raises Damaged, which names the object and the fix.
    """
    local = store.local_path(path)
    with disk_errors("scratch folder", str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
    if local is not None:
        problem = stored_problem(store, path, size, sha256)
        if problem is None:
            with disk_errors("scratch folder", str(target.parent)):
                if link:
                    _link(local, target)
                else:
                    shutil.copyfile(local, target)
            return
    else:
        for _ in range(2):
            try:
                store.download(path, target, most=size + 1)  # one byte more, to detect an object that is too long
            except MissingError:
                problem = "missing"
                break
            problem = problem_of(target, size, sha256)
            if problem is None:
                return
            target.unlink()
    raise Damaged(path, str(problem))


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or another user's file
        target.symlink_to(source)
