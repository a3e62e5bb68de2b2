"""Copy local data or a model into a store, under the digest by which experiments know it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from misstep.artifacts.digest import digest_path
from misstep.artifacts.store import Store

FOLDER = "uploads"


@dataclass(frozen=True)
class Uploaded:
    """Where it lies now."""

    uri: str
    digest: str
    files: int
    size: int
    """Bytes."""
    files_written: int
    """0: it was there already."""


def upload(store: Store, path: Path) -> Uploaded:
    """Copy a file or folder to ``uploads/<digest>`` in a store, unless it is there whole.

    Files go first and a list of them last, so that an upload that was cut off is done again. Hidden files and
    ``__pycache__`` stay behind, as in the digest. Raises BadInput where the path cannot be read.
    """
    digest = digest_path(path, "PATH")
    place = f"{FOLDER}/{digest.removeprefix('sha256:')}"
    files = dict(_files(path))
    size = sum(local.stat().st_size for local in files.values())
    single = f"/{path.name}" if path.is_file() else ""
    whole = not store.exists(f"{place}.json")
    if whole:
        for name, local in files.items():
            store.put_file(f"{place}/{name}", local)
        listing = {"digest": digest, "name": path.resolve().name, "files": sorted(files), "size": size}
        store.put(f"{place}.json", json.dumps(listing, indent=1, ensure_ascii=False).encode())
    return Uploaded(f"{store.uri}/{place}{single}", digest, len(files), size, len(files) if whole else 0)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not _left_out(name)]
        for name in names:
            if not _left_out(name):
                local = Path(folder, name)
                yield local.relative_to(path).as_posix(), local


def _left_out(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"
