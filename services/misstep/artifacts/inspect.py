"""The contents of a store, for ``misstep artifacts ls`` and ``show``, and finding an artifact by the start of its
key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from misstep.artifacts import paths
from misstep.artifacts.manifest import Damaged, Foreign, claimed_manifest, foreign, read_manifest
from misstep.artifacts.progress import read_progress
from misstep.errors import BadInput
from misstep.store.base import Entry, Store


@dataclass(frozen=True)
class ArtifactInfo:
    """One line of ``ls``. ``name``, ``rows`` and ``size`` come from the manifest, so they are empty without one."""

    key: str
    kind: str
    committed: bool
    damaged: bool = False
    foreign: bool = False
    """Its manifest belongs to another stage than the key names. ``damaged`` is then set too."""
    name: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    """Bytes of the committed parts."""
    stored: int = 0
    """Bytes of all objects below the key."""
    blocks_done: int = 0
    blocks: int | None = None
    modified: float = 0.0
    """Time of the last write, in seconds since the epoch."""


def artifacts_in(store: Store) -> dict[str, list[Entry]]:
    """Return all objects of each artifact, by key; objects of no artifact are left out."""
    found: dict[str, list[Entry]] = {}
    for entry in store.list(""):
        split = paths.split_key(entry.path)
        if split is not None:
            found.setdefault(split[0], []).append(entry)
    return found


def teacher_requests(store: Store) -> tuple[int, int]:
    """Return the number of stored answers of teachers, which lie outside all artifacts, and their bytes."""
    sizes = [entry.size for entry in store.list(paths.TEACHER_REQUESTS)]
    return len(sizes), sum(sizes)


def uploads_in(store: Store) -> dict[str, list[Entry]]:
    """Return all objects of each uploaded copy of data or a model, by the hex of its digest."""
    found: dict[str, list[Entry]] = {}
    for entry in store.list(paths.EXTERNAL):
        match = paths.EXTERNAL_COPY.fullmatch(entry.path)
        if match is not None:
            found.setdefault(match[1], []).append(entry)
    return found


def ls(store: Store) -> list[ArtifactInfo]:
    """List committed and unfinished artifacts, by key."""
    found = sorted(artifacts_in(store).items())
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda item: _info(store, *item), found))


def _info(store: Store, key: str, entries: list[Entry]) -> ArtifactInfo:
    receipts = [m for e in entries if (m := paths.RECEIPT.fullmatch(e.path.removeprefix(f"{key}/")))]
    info = ArtifactInfo(
        key=key,
        kind=key.rpartition("-")[0],
        committed=False,
        stored=sum(entry.size for entry in entries),
        blocks_done=len(receipts),
        blocks=int(receipts[0][2]) if receipts else None,
        modified=max(entry.modified for entry in entries),
    )
    try:
        manifest = read_manifest(store, key)
    except Damaged as error:
        return replace(info, committed=True, damaged=True, foreign=isinstance(error, Foreign))
    if manifest is None:
        return info
    return replace(
        info,
        committed=True,
        name=manifest.name,
        rows=manifest.tables(),
        size=manifest.size(),
        blocks_done=manifest.blocks,
        blocks=manifest.blocks,
    )


def show(store: Store, key: str) -> dict[str, Any]:
    """Return the manifest of a committed artifact as JSON data, or the progress of an unfinished one.

    If the manifest belongs to another stage than the key names, ``foreign`` says why. Raises BadInput if there is
    nothing below the key, Damaged if the manifest does not parse.
    """
    manifest = claimed_manifest(store, key)
    if manifest is not None:
        problem = foreign(manifest, key)
        return ({"foreign": problem} if problem else {}) | manifest.model_dump(mode="json")
    entries = list(store.list(f"{key}/"))
    if not entries:
        raise BadInput("key", key, "Nothing is stored under this key; `misstep artifacts ls` lists all keys.")
    info = _info(store, key, entries)
    return {
        "key": key,
        "kind": info.kind,
        "committed": False,
        "blocks_done": info.blocks_done,
        "blocks": info.blocks,
        "stored": info.stored,
        "progress": [heartbeat.model_dump(mode="json") for heartbeat in read_progress(store, key)],
    }


def find_key(store: Store, text: str) -> str:
    """Return the only key that begins with ``text``. Raises BadInput if there is none or more than one."""
    keys = list(artifacts_in(store)) if not paths.KEY.fullmatch(text) else [text]
    found = sorted(key for key in keys if key.startswith(text))
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput("key", text, "No artifact's key begins with this; `misstep artifacts ls` lists all keys.")
    more = ", ..." if len(found) > 3 else ""
    raise BadInput("key", text, f"{len(found)} keys begin with this ({', '.join(found[:3])}{more}): write more of it.")
