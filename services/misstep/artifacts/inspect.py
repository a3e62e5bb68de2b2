"""What lies in a store: ``misstep artifacts ls`` and ``show``, and finding an artifact by a few letters."""

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
    """One line of ``ls``. ``name``, ``rows`` and ``size`` are those of the manifest, so empty without one."""

    key: str
    kind: str
    committed: bool
    damaged: bool = False
    foreign: bool = False
    """Its manifest is not of the stage that the key names; such a one is damaged too."""
    name: str = ""
    rows: dict[str, int] = field(default_factory=dict)
    size: int = 0
    """Bytes of the committed parts."""
    stored: int = 0
    """Bytes of all that lies below the key."""
    blocks_done: int = 0
    blocks: int | None = None
    modified: float = 0.0
    """When anything was last written, in seconds since the epoch."""


def artifacts_in(store: Store) -> dict[str, list[Entry]]:
    """Return all objects of each artifact, by key; what belongs to no artifact is left out."""
    found: dict[str, list[Entry]] = {}
    for entry in store.list(""):
        split = paths.split_key(entry.path)
        if split is not None:
            found.setdefault(split[0], []).append(entry)
    return found


def teacher_requests(store: Store) -> tuple[int, int]:
    """Return how many answers of teachers are kept, outside all artifacts, and their bytes."""
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
    """Return a committed artifact's manifest as JSON data, or how far an unfinished one is.

    Of a manifest that is not of the stage that the key names, ``foreign`` says why. Raises BadInput where nothing lies
    below the key, Damaged where its manifest does not parse.
    """
    manifest = claimed_manifest(store, key)
    if manifest is not None:
        problem = foreign(manifest, key)
        return ({"foreign": problem} if problem else {}) | manifest.model_dump(mode="json")
    entries = list(store.list(f"{key}/"))
    if not entries:
        raise BadInput("key", key, "Nothing is stored below it; `misstep artifacts ls` lists what there is.")
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
    """Return the one key that is ``text`` or begins with it. Raises BadInput where there is none or more than one."""
    keys = list(artifacts_in(store)) if not paths.KEY.fullmatch(text) else [text]
    found = sorted(key for key in keys if key.startswith(text))
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput("key", text, "No artifact's key begins so; `misstep artifacts ls` lists them.")
    more = ", ..." if len(found) > 3 else ""
    raise BadInput("key", text, f"{len(found)} keys begin so ({', '.join(found[:3])}{more}): write more of it.")
