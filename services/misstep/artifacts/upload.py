"""Copies of data and models from this machine in a store, for experiments that run elsewhere.

A copy lies under its digest, so that it is put there once, whoever uploads it, and what a broken-off upload has sent is
not sent again. Nothing says that a copy is whole: whoever fetches it takes its digest, see ``stages/externals.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from misstep.artifacts import paths
from misstep.artifacts.digest import digest_files, folder_digest
from misstep.artifacts.files import stored_problem
from misstep.errors import BadInput
from misstep.store.base import Store, valid_path


@dataclass(frozen=True)
class Sent:
    """How far an upload is: after each file."""

    path: str
    """The file, by its path in the folder."""
    new: bool
    """Whether it was sent; otherwise it was there, whole."""
    files: int
    of_files: int
    bytes: int
    """Of all files so far, sent or not."""
    of_bytes: int


def upload(store: Store, local: Path, digest: str, tell: Callable[[Sent], None], field: str = "path") -> str:
    """Copy a file or folder into a store, but for what is there already with the right size and contents.

    Args:
        digest: ``sha256:<hex>`` of ``local``, as `digest_path` gives it.
        tell: called after each file.
        field: what a BadInput names.

    Returns:
        The copy's path in the store: of the file, or of the folder.

    Raises:
        BadInput: the contents are no longer those of the digest, a file's name can be no object's, or the copy's folder
            in the store holds other objects, which would change its digest.
    """
    hashes = digest_files(local, field)
    single = local.is_file()
    if (f"sha256:{hashes[local.name]}" if single else folder_digest(hashes)) != digest:
        raise BadInput(field, str(local), "Its contents have changed a moment ago: upload again.")
    wrong = next((name for name in hashes if not valid_path(name)), None)
    if wrong is not None:
        raise BadInput(field, wrong, "No store takes a file of that name: rename it.")
    there = {entry.path: entry.size for entry in store.list(f"{paths.external_copy(digest)}/")}
    wanted = {name: paths.external_copy(digest, name) for name in hashes}
    other = sorted(set(there) - set(wanted.values()))
    if other and not single:
        raise BadInput(field, f"{store.uri}/{other[0]}", "This object belongs to no file of the folder: remove it.")
    sizes = {name: (local if single else local / name).stat().st_size for name in hashes}
    done = 0
    for number, (name, sha256) in enumerate(hashes.items(), 1):
        new = _send(store, wanted[name], local if single else local / name, sizes[name], sha256, there)
        done += sizes[name]
        tell(Sent(name, new, number, len(hashes), done, sum(sizes.values())))
    return wanted[local.name] if single else paths.external_copy(digest)


def _send(store: Store, path: str, local: Path, size: int, sha256: str, there: dict[str, int]) -> bool:
    """Store one file unless it is there, whole; tell whether it was sent."""
    if path not in there and store.put_file(path, local, if_absent=True):
        return True
    if there.get(path, size) == size and stored_problem(store, path, size, sha256) is None:
        return False
    return store.put_file(path, local)  # damaged: the name says what it must hold, so that nobody needs what is there
