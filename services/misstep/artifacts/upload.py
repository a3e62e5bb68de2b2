"""Copy local data and models into a store, for experiments that run elsewhere.

A copy is stored under its digest, so it is uploaded once, no matter by whom, and an interrupted upload does not send
its files again. Nothing marks a copy as complete: the reader computes its digest, see ``stages/externals.py``.
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
    """The progress of an upload, after each file."""

    path: str
    """The file, by its path in the folder."""
    new: bool
    """Whether it was sent; otherwise it was stored already."""
    files: int
    of_files: int
    bytes: int
    """Bytes of all files so far, sent or not."""
    of_bytes: int


def upload(store: Store, local: Path, digest: str, tell: Callable[[Sent], None], field: str = "path") -> str:
    """Copy a file or folder into a store, except for files that are there already with the right size and contents.

    Args:
        digest: ``sha256:<hex>`` of ``local``, as `digest_path` gives it.
        tell: called after each file.
        field: what a BadInput names.

    Returns:
        The copy's path in the store: of the file, or of the folder.

    Raises:
        BadInput: the contents no longer match the digest, a file's name cannot be an object's, or the copy's folder in
            the store holds other objects, which would change its digest.
    """
    hashes = digest_files(local, field)
    single = local.is_file()
    if (f"sha256:{hashes[local.name]}" if single else folder_digest(hashes)) != digest:
        raise BadInput(field, str(local), "Its contents have just changed: upload again.")
    wrong = next((name for name in hashes if not valid_path(name)), None)
    if wrong is not None:
        raise BadInput(field, wrong, "A store cannot hold a file of that name: rename it.")
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
    """Store one file unless it is there and complete; return whether it was sent."""
    if path not in there and store.put_file(path, local, if_absent=True):
        return True
    if there.get(path, size) == size and stored_problem(store, path, size, sha256) is None:
        return False
    return store.put_file(path, local)  # damaged: its name determines its contents, so nobody needs the stored ones
