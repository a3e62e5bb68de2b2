"""What commits an artifact: one manifest, put together from one receipt per block.

A block's part files are stored first, under names that carry their hash; then its receipt, create-if-absent, so that
of two writers the first wins and the other's files are never listed. Whoever sees all receipts writes the manifest,
create-if-absent too. No manifest, no artifact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from misstep.artifacts import paths
from misstep.artifacts.provenance import differences, in_words, is_of_its_key
from misstep.artifacts.summary import merge
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.store.base import MissingError, Readable, Store
from misstep.store.inside import check_name, check_names

FORMAT = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""In hex; becomes part of paths on readers' disks."""
Bytes = Annotated[int, Field(ge=0, le=50 << 40)]
"""The size of an object; none is larger in S3."""
T = TypeVar("T", bound="_Document")


class Part(BaseModel):
    """One stored file. A table's parts, in order of their blocks, are the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    """Where it lies, below the artifact's key."""
    size: Bytes
    sha256: Sha256
    block: Annotated[int, Field(ge=0)]
    table: str | None = None
    rows: Annotated[int, Field(ge=0)] | None = None
    file: str | None = None
    """For files: the path by which readers ask for it, such as ``model/config.json``."""

    @field_validator("path", "file")
    @classmethod
    def _stays_inside(cls, path: str | None) -> str | None:
        return path if path is None else check_name(path)

    @model_serializer(mode="wrap")
    def _without_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT

    def encode(self) -> bytes:
        document = self.model_dump(mode="json")
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


class Receipt(_Document):
    """One finished block."""

    block: int
    blocks: int
    parts: tuple[Part, ...]
    summary: dict[str, Any] = Field(default_factory=dict)
    tools: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that the block's process had loaded."""
    seconds: float
    peak_memory_mib: int | None = None
    """Most memory that the process held at once up to the block's end, worker processes aside."""

    @field_validator("parts")
    @classmethod
    def _stay_apart(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return _apart(parts)


class Timings(BaseModel):
    """How long it took and how much memory: what here does not follow from the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seconds: float
    blocks: tuple[float, ...]
    peak_memory_mib: int | None = None
    """Of the process of any block, the most; None where it was not measured."""


class Manifest(_Document):
    """A committed artifact: what it was made from, and every file that belongs to it."""

    key: str
    kind: StageKind
    name: str
    """What the stage was called in the plan that made it first."""
    params: dict[str, Any]
    inputs: dict[str, str]
    externals: dict[str, str]
    """role -> digest."""
    tools: dict[str, str]
    blocks: int
    parts: tuple[Part, ...]
    summary: dict[str, Any]
    timings: Timings

    @field_validator("parts")
    @classmethod
    def _stay_apart(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return _apart(parts)

    def tables(self) -> dict[str, int]:
        """Return the rows of each table."""
        rows: dict[str, int] = {}
        for part in self.parts:
            if part.table is not None:
                rows[part.table] = rows.get(part.table, 0) + (part.rows or 0)
        return rows

    def table_parts(self, table: str) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.table == table)

    def files(self, prefix: str = "") -> dict[str, Part]:
        return {part.file: part for part in self.parts if part.file is not None and part.file.startswith(prefix)}

    def size(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size for part in self.parts)


def _apart(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Refuse files that could not lie beside each other in a folder."""
    check_names(part.file for part in parts if part.file is not None)
    return parts


class NotCommittedError(MisstepError):
    """An artifact was asked for that has no manifest."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is not committed: no manifest in the store")


def read_manifest(store: Readable, key: str) -> Manifest | None:
    """Return a committed artifact's manifest, or None.

    Raises Damaged where it does not parse, Foreign where it is not of the stage that the key names: anyone may ask who
    knows no more of the stage than its key.
    """
    manifest = claimed_manifest(store, key)
    problem = foreign(manifest, key) if manifest is not None else ""
    if problem:
        raise Foreign(store, key, problem)
    return manifest


def claimed_manifest(store: Readable, key: str) -> Manifest | None:
    """Return the manifest that lies under a key, whatever it says, or None: to look at. Raises Damaged."""
    return _read(store, paths.manifest(key), Manifest)


def foreign(manifest: Manifest, key: str) -> str:
    """Say why a manifest is not of the stage that a key names, or nothing where it is."""
    if manifest.key != key:
        return f"it is the manifest of {manifest.key}"
    if not is_of_its_key(manifest):
        return "its kind, params, inputs and externals are not those that the key was made from"
    return ""


def read_own(store: Readable, stage: FrozenStage) -> Manifest | None:
    """Return the manifest of a stage that is known, or None. Raises Damaged, and Foreign with what differs."""
    manifest = claimed_manifest(store, stage.key)
    if manifest is None:
        return None
    different = differences(stage, manifest)
    problem = in_words(different) if different and manifest.key == stage.key else foreign(manifest, stage.key)
    if problem:
        raise Foreign(store, stage.key, problem)
    return manifest


def committed_keys(store: Readable, keys: Iterable[str]) -> set[str]:
    """Tell which artifacts are committed, asking the store for several at once."""
    asked = list(dict.fromkeys(keys))
    with ThreadPoolExecutor(16) as pool:
        return {
            key for key, there in zip(asked, pool.map(store.exists, map(paths.manifest, asked)), strict=True) if there
        }


def finished_blocks(store: Store, key: str) -> dict[int, set[int]]:
    """Return the blocks that have a receipt, by the number of blocks into which their writer cut the stage."""
    found: dict[int, set[int]] = {}
    for entry in store.list(f"{key}/blocks/"):
        match = paths.RECEIPT.fullmatch(entry.path.removeprefix(f"{key}/"))
        if match:
            found.setdefault(int(match[2]), set()).add(int(match[1]))
    return found


def read_receipt(store: Store, key: str, block: int, blocks: int) -> Receipt | None:
    """Return a finished block's receipt, or None. Raises Damaged where it does not parse, or is another block's."""
    path = paths.receipt(key, block, blocks)
    receipt = _read(store, path, Receipt)
    if receipt is not None and (receipt.block, receipt.blocks) != (block, blocks):
        raise Damaged(path, f"it is the receipt of block {receipt.block} of {receipt.blocks}")
    return receipt


def put_receipt(store: Store, key: str, receipt: Receipt) -> bool:
    """Store a block's receipt; False where another writer's was first (that one counts)."""
    return store.put(paths.receipt(key, receipt.block, receipt.blocks), receipt.encode(), if_absent=True)


def assemble(stage: FrozenStage, receipts: Sequence[Receipt]) -> Manifest:
    """Put a manifest together from the receipts of all blocks, in any order. Raises MisstepError where their
    parts or summaries contradict each other."""
    ordered = sorted(receipts, key=lambda receipt: receipt.block)
    if [r.block for r in ordered] != list(range(len(ordered))) or any(r.blocks != len(ordered) for r in ordered):
        raise MisstepError(f"{stage.key}: the receipts are not those of all blocks")
    tools: dict[str, set[str]] = {}
    for receipt in ordered:
        for tool, version in receipt.tools.items():
            tools.setdefault(tool, set()).add(version)
    try:
        return Manifest(
            key=stage.key,
            kind=stage.kind,
            name=stage.name,
            params=stage.params,
            inputs=stage.inputs,
            externals={role: external.digest for role, external in stage.externals.items()},
            tools={tool: ", ".join(sorted(versions)) for tool, versions in sorted(tools.items())},
            blocks=len(ordered),
            parts=tuple(part for receipt in ordered for part in receipt.parts),
            summary=merge([receipt.summary for receipt in ordered]),
            timings=Timings(
                seconds=sum(r.seconds for r in ordered),
                blocks=tuple(r.seconds for r in ordered),
                peak_memory_mib=max((r.peak_memory_mib for r in ordered if r.peak_memory_mib), default=None),
            ),
        )
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        fix = "`misstep artifacts verify` and `misstep run --repair` look at each."
        raise MisstepError(f"{stage.key}: the receipts contradict each other: {problem}. {fix}") from error


def commit(store: Store, stage: FrozenStage, blocks: int) -> Manifest:
    """Write the manifest of a stage whose blocks all have receipts, and return the committed one: this writer's or,
    where another was first, that one's. Raises Foreign where that one is not of this stage."""
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda block: read_receipt(store, stage.key, block, blocks), range(blocks)))
    missing = [block for block, receipt in enumerate(receipts) if receipt is None]
    if missing:
        raise MisstepError(f"{stage.key}: the receipts of blocks {missing[:5]} have been removed meanwhile")
    manifest = assemble(stage, [receipt for receipt in receipts if receipt is not None])
    if store.put(paths.manifest(stage.key), manifest.encode(), if_absent=True):
        return manifest
    committed = read_own(store, stage)
    if committed is None:
        raise MisstepError(f"{stage.key}: its manifest was written and removed meanwhile")
    return committed


class Damaged(BadInput):
    """A stored object is not what its manifest says, or no manifest at all."""

    def __init__(self, path: str, problem: str, fix: str = "") -> None:
        repaired = "`misstep run --repair` removes what is damaged and computes that alone again."
        super().__init__(path, problem, fix or repaired)


class Foreign(Damaged):
    """A manifest under a key that was made from something else: no stage has written it."""

    def __init__(self, store: Readable, key: str, problem: str) -> None:
        fix = (
            f"No stage of this key wrote it: look who may write {store.uri}, and at what it holds (`misstep artifacts "
            f"show {key}`). Then `misstep run --repair`, or deleting all below {key}/, has it computed again."
        )
        super().__init__(paths.manifest(key), f"a foreign manifest: {problem}", fix)


def _read(store: Readable, path: str, kind: type[T]) -> T | None:
    try:
        document = kind.model_validate_json(store.get(path))
    except MissingError:
        return None
    except ValidationError as error:
        raise Damaged(path, f"not a valid {kind.__name__.lower()}: {error.errors()[0]['msg']}") from error
    if document.format != FORMAT:
        fix = f"This version of Misstep reads format {FORMAT}: use the one that wrote it."
        raise BadInput(path, f"format {document.format}", fix)
    return document
