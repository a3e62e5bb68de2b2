"""Check all bytes of an artifact and remove what is damaged, so that a run computes only that again."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.artifacts import paths
from misstep.artifacts.files import stored_problem
from misstep.artifacts.manifest import Damaged, Foreign, Part, finished_blocks, read_manifest, read_receipt
from misstep.store.base import Store


@dataclass(frozen=True)
class Repaired:
    """What was damaged (stored path -> what is wrong with it), and which blocks must be computed again."""

    damaged: dict[str, str]
    blocks: tuple[int, ...]


def find_damage(store: Store, key: str) -> dict[str, str]:
    """Check manifest, receipts and every part of an artifact without changing anything: stored path -> problem."""
    return _Check(store, key).problems


def repair(store: Store, key: str) -> Repaired:
    """Remove damaged parts of an artifact with the receipts and the manifest that list them.

    Undamaged blocks keep their receipts, so the next run of the stage computes only the others. An artifact without
    damage, finished or not, is not changed. Receipts are removed first, then the manifest, then the parts. If the
    manifest belongs to another stage than the key names, everything is removed, since its author may have written the
    rest too. The manifest is then removed last, so that a repeated call after an interruption finds what is left.
    """
    check = _Check(store, key)
    for path in check.foreign or (*check.receipts, *check.manifests, *check.problems):
        store.delete(path)
    return Repaired(check.problems, tuple(sorted(check.blocks)))


class _Check:
    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self.problems: dict[str, str] = {}
        self.blocks: set[int] = set()
        self.receipts: list[str] = []
        """Receipts to remove."""
        self.manifests: list[str] = []
        self.foreign: list[str] = []
        """All objects of an artifact with a foreign manifest, in the order of removal."""
        self._checked: dict[str, bool] = {}
        self._check_manifest()
        if self.foreign:
            return
        for blocks, finished in sorted(finished_blocks(store, key).items()):
            for block in sorted(finished):
                self._check_receipt(block, blocks)

    def _check_manifest(self) -> None:
        try:
            manifest = read_manifest(self._store, self._key)
        except Damaged as error:
            self.problems[error.field] = str(error.value)
            self.manifests.append(error.field)
            if isinstance(error, Foreign):
                found = (entry.path for entry in self._store.list(f"{self._key}/"))
                self.foreign = sorted(found, key=paths.manifest(self._key).__eq__)
            return
        bad = [part.block for part in manifest.parts if not self._sound(part)] if manifest is not None else []
        if bad:
            self.manifests.append(paths.manifest(self._key))
            self.blocks.update(bad)

    def _check_receipt(self, block: int, blocks: int) -> None:
        path = paths.receipt(self._key, block, blocks)
        try:
            receipt = read_receipt(self._store, self._key, block, blocks)
        except Damaged as error:
            self.problems[path] = str(error.value)
            sound = False
        else:
            problems = [part for part in receipt.parts if not self._sound(part)] if receipt is not None else []
            sound = not problems
        if not sound:
            self.receipts.append(path)
            self.blocks.add(block)

    def _sound(self, part: Part) -> bool:
        path = f"{self._key}/{part.path}"
        if path not in self._checked:
            problem = stored_problem(self._store, path, part.size, part.sha256)
            if problem is not None:
                self.problems[path] = problem
            self._checked[path] = problem is None
        return self._checked[path]
