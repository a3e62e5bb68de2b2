"""What a run, its status and the operator read from a store: manifests and heartbeats. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from misstep.artifacts import paths
from misstep.artifacts.manifest import Manifest, committed_keys, read_manifest, read_own
from misstep.artifacts.progress import Heartbeat, read_progress
from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.store.base import Readable

_AT_ONCE = 16


class StoreWatch:
    """Methods raise BadInput where the store cannot be used, and another MisstepError where a later try may succeed."""

    def __init__(self, store: Readable) -> None:
        self._store = store

    def committed(self, key: str) -> bool:
        return self._store.exists(paths.manifest(key))

    def committed_among(self, keys: Sequence[str]) -> frozenset[str]:
        return frozenset(committed_keys(self._store, keys))

    def summary(self, key: str) -> Mapping[str, Any]:
        """Return a committed artifact's counts and figures."""
        manifest = read_manifest(self._store, key)
        return manifest.summary if manifest else {}

    def manifests(self, keys: Sequence[str]) -> dict[str, Manifest]:
        """Return the manifests of committed artifacts."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            manifests = pool.map(lambda key: read_manifest(self._store, key), keys)
            return {key: found for key, found in zip(keys, manifests, strict=True) if found}

    def refuse_foreign(self, stages: Sequence[FrozenStage]) -> None:
        """Read the manifests of committed stages of a plan. Raises Foreign for the first that is not its stage's, with
        what differs, and Damaged."""
        committed = self.committed_among([stage.key for stage in stages])
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(lambda stage: read_own(self._store, stage), [s for s in stages if s.key in committed]):
                pass

    def heartbeats(self, key: str, shards: int | None = None, since: float = 0.0) -> list[Heartbeat]:
        """Return how far a stage's shards are (``read_progress``); nothing where the store does not answer, for they
        are only shown."""
        try:
            return read_progress(self._store, key, shards, since)
        except MisstepError:
            return []
