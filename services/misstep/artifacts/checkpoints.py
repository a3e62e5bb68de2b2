"""Checkpoints of a running stage, in the store, so that another machine can go on from them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from misstep.artifacts import paths
from misstep.artifacts.disk import disk_errors
from misstep.artifacts.files import fetch, hash_file
from misstep.artifacts.manifest import Damaged
from misstep.artifacts.store import MissingError, Store

_log = logging.getLogger(__name__)
_KEPT = 2


class CheckpointFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    path: str
    """Below the checkpoint's folder; holds the content's hash, as twins may write the same step at once."""
    size: int
    sha256: str


class CheckpointManifest(BaseModel):
    """What makes a checkpoint complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    files: tuple[CheckpointFile, ...]


class StoredCheckpoints:
    """Implements ``Checkpoints`` for one stage: files first, then a manifest that makes them visible."""

    def __init__(self, store: Store, key: str, scratch: Path) -> None:
        self._store, self._key, self._scratch = store, key, scratch

    def save(self, step: int, folder: Path) -> None:
        """Store a folder as the newest checkpoint: complete or invisible, the last two kept. A checkpoint of that step
        that another writer has completed is left as it is."""
        root = paths.checkpoint(self._key, step)
        files = []
        for local in sorted(path for path in folder.rglob("*") if path.is_file()):
            sha256 = hash_file(local)
            name = local.relative_to(folder).as_posix()
            stored = paths.file_part(name, sha256)
            self._store.put_file(f"{root}/{stored}", local)
            files.append(CheckpointFile(file=name, path=stored, size=local.stat().st_size, sha256=sha256))
        manifest = CheckpointManifest(step=step, files=tuple(files))
        self._store.put(f"{root}/manifest.json", manifest.model_dump_json().encode(), if_absent=True)
        self._keep_last()

    def newest(self) -> tuple[int, Path] | None:
        """Fetch the newest complete checkpoint into a local folder, or None. One that is damaged is passed over."""
        for step in reversed(self._steps()):
            try:
                return step, self._fetch(step)
            except (MissingError, Damaged, ValidationError) as error:
                _log.warning("checkpoint of step %d cannot be used: %s", step, error)
        return None

    def _steps(self) -> list[int]:
        found = (entry.path.removeprefix(f"{self._key}/") for entry in self._store.list(f"{self._key}/checkpoints/"))
        return sorted(int(match[1]) for path in found if (match := paths.CHECKPOINT.fullmatch(path)))

    def _fetch(self, step: int) -> Path:
        root = paths.checkpoint(self._key, step)
        manifest = CheckpointManifest.model_validate_json(self._store.get(f"{root}/manifest.json"))
        target = self._scratch / "checkpoint"
        with disk_errors("scratch folder", str(target)):
            if target.exists():
                shutil.rmtree(target)
            target.mkdir(parents=True)
        for file in manifest.files:
            fetch(self._store, f"{root}/{file.path}", file.size, file.sha256, target / file.file, link=True)
        return target

    def _keep_last(self) -> None:
        """Remove what is older than the last two complete checkpoints, manifests first."""
        steps = self._steps()
        if len(steps) <= _KEPT:
            return
        first_kept = paths.checkpoint(self._key, steps[-_KEPT])
        older = [e.path for e in self._store.list(f"{self._key}/checkpoints/") if e.path < first_kept]
        for path in sorted(older, key=lambda path: (not path.endswith("/manifest.json"), path)):
            self._store.delete(path)
