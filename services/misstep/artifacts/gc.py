"""Find and remove unneeded objects: artifacts that no given Experiment reaches, and leftovers inside the others.

Answers of teachers (``teacher-requests/``) belong to no artifact and stay: they were paid for. Uploaded copies of data
and models (``external/``) stay if a given Experiment uses the same contents. Nothing younger than a grace period is
removed, since it may belong to a running stage.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from misstep.artifacts import paths
from misstep.artifacts.inspect import artifacts_in, uploads_in
from misstep.artifacts.manifest import finished_blocks, read_manifest, read_receipt
from misstep.store.base import TEMPORARY, Entry, Store

GRACE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Removal:
    """Objects to remove together, in this order: objects that make others visible come first."""

    key: str
    """The artifact's key, or the folder of an uploaded copy; empty for other objects."""
    reason: str
    paths: tuple[str, ...]
    size: int
    """Bytes that this frees."""


def plan_gc(
    store: Store,
    reachable_keys: Iterable[str],
    *,
    external_digests: Iterable[str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
    now: float | None = None,
) -> list[Removal]:
    """List what may be removed: whole artifacts that are not reachable; in reachable ones, files that neither a
    manifest nor a receipt lists, and old checkpoints and heartbeats if they are committed; and incomplete temporary
    files.

    Args:
        external_digests: ``sha256:<hex>`` of the data and models that the Experiments use. Their uploaded copies stay,
            all others may be removed. If it is None, no copy is removed.
        now: in seconds since the epoch.

    Raises Damaged if a reachable artifact's manifest does not parse.
    """
    before = (time.time() if now is None else now) - grace_seconds
    reachable = set(reachable_keys)
    removals = []
    for key, entries in sorted(artifacts_in(store).items()):
        if key in reachable:
            needed = _needed(store, key, entries)
            left = [entry for entry in entries if entry.path not in needed and entry.modified < before]
            removals += _removal(key, "left over inside a needed artifact", left)
        elif max(entry.modified for entry in entries) < before:
            removals += _removal(key, "not reached by any given Experiment", entries)
    if external_digests is not None:
        used = {digest.removeprefix("sha256:") for digest in external_digests}
        for name, entries in sorted(uploads_in(store).items()):
            if name not in used and max(entry.modified for entry in entries) < before:
                removals += _removal(paths.external_copy(name), "uploaded, and used by no given Experiment", entries)
    half_written = [entry for entry in store.list(TEMPORARY) if entry.modified < before]
    return removals + _removal("", "half-written", half_written)


def apply_gc(store: Store, removals: Sequence[Removal]) -> int:
    """Remove what the list names, and return the bytes freed."""
    for removal in removals:
        for path in removal.paths:
            store.delete(path)
    return sum(removal.size for removal in removals)


def _needed(store: Store, key: str, entries: Sequence[Entry]) -> set[str]:
    manifest = read_manifest(store, key)
    if manifest is not None:
        receipts = [paths.receipt(key, block, manifest.blocks) for block in range(manifest.blocks)]
        return {paths.manifest(key), *receipts, *(f"{key}/{part.path}" for part in manifest.parts)}
    needed = {entry.path for entry in entries if entry.path.startswith((f"{key}/checkpoints/", f"{key}/progress/"))}
    for blocks, finished in finished_blocks(store, key).items():
        for block in finished:
            receipt = read_receipt(store, key, block, blocks)
            if receipt is not None:
                needed |= {paths.receipt(key, block, blocks), *(f"{key}/{part.path}" for part in receipt.parts)}
    return needed


def _removal(key: str, reason: str, entries: Sequence[Entry]) -> list[Removal]:
    if not entries:
        return []
    ordered = sorted((entry.path for entry in entries), key=lambda path: (not path.endswith(".json"), path))
    if paths.manifest(key) in ordered:
        ordered.remove(paths.manifest(key))
        ordered.insert(0, paths.manifest(key))
    return [Removal(key, reason, tuple(ordered), sum(entry.size for entry in entries))]
