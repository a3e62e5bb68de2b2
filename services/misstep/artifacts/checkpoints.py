"""Checkpoints of a running stage, in the store, so that another machine can resume from them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from misstep.artifacts import paths
from misstep.artifacts.files import fetch, hash_file
from misstep.artifacts.manifest import Bytes, Damaged, Sha256
from misstep.errors import MisstepError
from misstep.store.base import MissingError, Store
from misstep.store.disk import disk_errors
from misstep.store.inside import check_name, check_names, inside

_log = logging.getLogger(__name__)
_KEPT = 2
_MOST_FILES = 100_000
"""Each rank writes one or two files, and the first rank about twenty more."""
_MOST_MANIFEST_BYTES = 64 << 20


_FIX = "It is not used. Misstep never writes such a checkpoint: check who can write there, then remove it."


class CheckpointFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    path: str
    """Below the checkpoint's folder; contains the hash of the content, since twins may write the same step at once."""
    size: Bytes
    sha256: Sha256

    @field_validator("file", "path")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        return check_name(name)


class Layout(BaseModel):
    """The layout that a checkpoint's files require: DeepSpeed reads its shards only with the number of ranks that wrote
    them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    processes: int = 1
    zero_stage: int | None = None
    """None: written by the plain trainer, without DeepSpeed."""

    def __str__(self) -> str:
        count = f"{self.processes} process{'' if self.processes == 1 else 'es'}"
        return count if self.zero_stage is None else f"{count} with ZeRO stage {self.zero_stage}"


class CheckpointManifest(BaseModel):
    """The manifest, which makes a checkpoint complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    files: Annotated[tuple[CheckpointFile, ...], Field(max_length=_MOST_FILES)]
    layout: Layout = Layout()

    @field_validator("files")
    @classmethod
    def _stay_apart(cls, files: tuple[CheckpointFile, ...]) -> tuple[CheckpointFile, ...]:
        check_names(file.file for file in files)
        return files


class StoredCheckpoints:
    """Implements ``Checkpoints`` for one stage: files first, then a manifest that makes them visible.

    If several nodes write one checkpoint, each calls ``upload`` with its own files, and one of them calls ``complete``
    with the files of all.
    """

    def __init__(self, store: Store, key: str, scratch: Path, layout: Layout | None = None) -> None:
        self._store, self._key, self._scratch = store, key, scratch
        self._layout = layout or Layout()

    @property
    def folder(self) -> Path:
        """The folder into which ``fetch`` downloads a checkpoint."""
        return self._scratch / "checkpoint"

    def save(self, step: int, folder: Path) -> None:
        """Store a folder as the newest checkpoint: complete or invisible, the last two kept. If another writer has
        completed a checkpoint of that step, it stays."""
        self.complete(step, self.upload(step, folder))

    def upload(self, step: int, folder: Path) -> list[CheckpointFile]:
        """Store a folder's files as part of a checkpoint that ``complete`` makes visible."""
        root = paths.checkpoint(self._key, step)
        files = []
        for local in sorted(path for path in folder.rglob("*") if path.is_file()):
            sha256 = hash_file(local)
            name = local.relative_to(folder).as_posix()
            stored = paths.file_part(name, sha256)
            self._store.put_file(f"{root}/{stored}", local)
            files.append(CheckpointFile(file=name, path=stored, size=local.stat().st_size, sha256=sha256))
        return files

    def complete(self, step: int, files: Iterable[CheckpointFile]) -> None:
        """Make a checkpoint of stored files visible; if several nodes have written a file, the first one counts."""
        by_name = {file.file: file for file in reversed(list(files))}
        listed = tuple(by_name[name] for name in sorted(by_name))
        manifest = CheckpointManifest(step=step, files=listed, layout=self._layout)
        path = f"{paths.checkpoint(self._key, step)}/manifest.json"
        if not self._store.put(path, manifest.model_dump_json().encode(), if_absent=True):
            self._replace_foreign(path, manifest)
        self._keep_last()

    def newest(self) -> tuple[int, Path] | None:
        """Fetch the newest complete checkpoint into a local folder, or None. A checkpoint that is damaged, or written
        with another layout of ranks, is skipped."""
        for step in reversed(self._steps()):
            try:
                layout = self._manifest(step).layout
                if layout == self._layout:
                    return step, self.fetch(step)
                _log.warning(
                    "checkpoint of step %d is skipped: it is from %s, and this run has %s", step, layout, self._layout
                )
            except MissingError as error:
                _log.warning("checkpoint of step %d cannot be used: %s", step, error)
            except Damaged as error:
                _log.error("checkpoint of step %d is skipped: %s", step, error)
        return None

    def refuse(self, step: int, why: str) -> MisstepError:
        """Take a checkpoint out of use, and return the error for an attempt that cannot resume from another one.

        Its files stay for inspection, with a note next to them, until newer checkpoints or the commit remove them.
        """
        root = paths.checkpoint(self._key, step)
        self._store.put(f"{root}/refused.json", json.dumps({"why": why}).encode())
        self._store.delete(f"{root}/manifest.json")
        return MisstepError(
            f"checkpoint of step {step} is refused: {why}. It will not be used again: training continues without it. "
            f"Check who can write to {self._store.uri}; its files are still below {root}/."
        )

    def note_out_of_memory(self, micro_batch: int) -> None:
        """Note, for the next attempts, that micro-batches of so many rows do not fit into memory."""
        note = {"micro_batch": micro_batch}
        self._store.put(paths.out_of_memory(self._key), json.dumps(note).encode())

    def out_of_memory(self) -> int | None:
        """Return the micro-batch with which the last attempt ran out of memory, or None."""
        try:
            return int(json.loads(self._store.get(paths.out_of_memory(self._key)))["micro_batch"])
        except MissingError:
            return None

    def _replace_foreign(self, path: str, manifest: CheckpointManifest) -> None:
        """Replace a manifest that the present ranks cannot read: one of another layout, or a damaged one."""
        try:
            written_by = self._manifest(manifest.step).layout
        except MissingError:
            return
        except Damaged:
            written_by = None
        if written_by != manifest.layout:
            self._store.put(path, manifest.model_dump_json().encode())

    def _steps(self) -> list[int]:
        found = (entry.path.removeprefix(f"{self._key}/") for entry in self._store.list(f"{self._key}/checkpoints/"))
        return sorted(int(match[1]) for path in found if (match := paths.CHECKPOINT.fullmatch(path)))

    def _manifest(self, step: int) -> CheckpointManifest:
        """Raises MissingError, and Damaged for a manifest that Misstep cannot have written."""
        path = f"{paths.checkpoint(self._key, step)}/manifest.json"
        text = self._store.get_range(path, 0, _MOST_MANIFEST_BYTES + 1)
        if len(text) > _MOST_MANIFEST_BYTES:
            raise Damaged(path, f"more than {_MOST_MANIFEST_BYTES >> 20} MiB", _FIX)
        try:
            manifest = CheckpointManifest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise Damaged(path, f"{where}: {first['msg']}" if where else first["msg"], _FIX) from error
        if manifest.step != step:
            raise Damaged(path, f"it says that its step is {manifest.step}", _FIX)
        return manifest

    def fetch(self, step: int) -> Path:
        """Fetch a complete checkpoint into ``folder``. Raises MissingError or Damaged if it is not complete."""
        root = paths.checkpoint(self._key, step)
        manifest = self._manifest(step)
        target = self.folder
        with disk_errors("scratch folder", str(target)):
            if target.exists():
                shutil.rmtree(target)
            target.mkdir(parents=True)
        for file in manifest.files:
            local = inside(target, file.file, root)
            fetch(self._store, f"{root}/{file.path}", file.size, file.sha256, local, link=True)
        return target

    def _keep_last(self) -> None:
        """Remove all but the last two complete checkpoints of this layout, manifests first. Checkpoints of another
        layout are not counted: they may have later steps, but this run cannot resume from them. Newer files without a
        manifest belong to a twin."""
        complete = self._steps()
        own = [step for step in complete if self._layout_of(step) == self._layout]
        kept = set(own[-_KEPT:])
        if not own:
            return
        gone = [
            entry.path
            for entry in self._store.list(f"{self._key}/checkpoints/")
            if (found := paths.CHECKPOINT_FILE.fullmatch(entry.path.removeprefix(f"{self._key}/")))
            and (step := int(found[1])) not in kept
            and (step in complete or step < min(kept))
        ]
        for path in sorted(gone, key=lambda path: (not path.endswith("/manifest.json"), path)):
            self._store.delete(path)

    def _layout_of(self, step: int) -> Layout | None:
        try:
            return self._manifest(step).layout
        except (MissingError, Damaged):
            return None
