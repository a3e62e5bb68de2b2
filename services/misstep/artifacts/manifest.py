"""Commit an artifact by one manifest, assembled from one receipt per block.

A block's part files are stored first, under names that contain their hash. Then its receipt is created if absent, so
that the first of two writers wins and the files of the other are never listed. The process that sees all receipts
writes the manifest, also create-if-absent. Without a manifest there is no artifact.
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
"""In hex. It becomes part of local paths of readers."""
Bytes = Annotated[int, Field(ge=0, le=50 << 40)]
"""The size of an object. Objects in S3 have at most 50 TiB."""
T = TypeVar("T", bound="_Document")


class Part(BaseModel):
    """One stored file. A table's parts, in order of their blocks, are the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    """Its path below the artifact's key."""
    size: Bytes
    sha256: Sha256
    block: Annotated[int, Field(ge=0)]
    table: str | None = None
    rows: Annotated[int, Field(ge=0)] | None = None
    file: str | None = None
    """For files: the path that readers use, such as ``model/config.json``."""

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
    """Peak memory of the process up to the block's end, without worker processes."""

    @field_validator("parts")
    @classmethod
    def _stay_apart(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return _apart(parts)


class Timings(BaseModel):
    """How much time and memory the stage took: the part of a manifest that does not follow from the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seconds: float
    blocks: tuple[float, ...]
    peak_memory_mib: int | None = None
    """The largest peak of any block's process; None if it was not measured."""


class Manifest(_Document):
    """A committed artifact: its origin, and every file that belongs to it."""

    key: str
    kind: StageKind
    name: str
    """The stage's name in the plan that first computed it."""
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
        """Return the number of rows of each table."""
        rows: dict[str, int] = {}
        for part in self.parts:
            if part.table is not None:
                rows[part.table] = rows.get(part.table, 0) + (part.rows or 0)
        return rows

    def table_parts(self, table: str) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.table == table)

    def files(self, prefix: str = "") -> dict[str, Part]:
        return {part.file: part for part in self.parts if part.file is not None and part.file.startswith(prefix)}

    def policy_prefix(self) -> str:
        """Return where the files of the policy begin: it is the model itself, or another checkpoint of its run."""
        return "policy/" if self.files("policy/") else "model/"

    def size(self) -> int:
        """Return the bytes of all parts."""
        return sum(part.size for part in self.parts)


def _apart(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Refuse files that could not exist together in a folder."""
    check_names(part.file for part in parts if part.file is not None)
    return parts


class NotCommittedError(MisstepError):
    """The requested artifact has no manifest."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is not committed: no manifest in the store")


def read_manifest(store: Readable, key: str) -> Manifest | None:
    """Return a committed artifact's manifest, or None.

    Raises Damaged if it does not parse, Foreign if it belongs to another stage than the key names. The caller needs to
    know nothing but the key.
    """
    manifest = claimed_manifest(store, key)
    problem = foreign(manifest, key) if manifest is not None else ""
    if problem:
        raise Foreign(store, key, problem)
    return manifest


def claimed_manifest(store: Readable, key: str) -> Manifest | None:
    """Return the manifest stored under a key, without checking it against the key, or None. Raises Damaged."""
    return _read(store, paths.manifest(key), Manifest)


def foreign(manifest: Manifest, key: str) -> str:
    """Return why a manifest does not belong to the stage that a key names; empty if it does."""
    if manifest.key != key:
        return f"it is the manifest of {manifest.key}"
    if not is_of_its_key(manifest):
        return "its kind, params, inputs and externals are not those that the key was made from"
    return ""


def read_own(store: Readable, stage: FrozenStage) -> Manifest | None:
    """Return the manifest of a known stage, or None. Raises Damaged, and Foreign with what differs."""
    manifest = claimed_manifest(store, stage.key)
    if manifest is None:
        return None
    different = differences(stage, manifest)
    problem = in_words(different) if different and manifest.key == stage.key else foreign(manifest, stage.key)
    if problem:
        raise Foreign(store, stage.key, problem)
    return manifest


def committed_keys(store: Readable, keys: Iterable[str]) -> set[str]:
    """Return which artifacts are committed, asking the store for several at once."""
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
    """Return a finished block's receipt, or None. Raises Damaged if it does not parse or belongs to another block."""
    path = paths.receipt(key, block, blocks)
    receipt = _read(store, path, Receipt)
    if receipt is not None and (receipt.block, receipt.blocks) != (block, blocks):
        raise Damaged(path, f"it is the receipt of block {receipt.block} of {receipt.blocks}")
    return receipt


def put_receipt(store: Store, key: str, receipt: Receipt) -> bool:
    """Store a block's receipt; return False if another writer was first (then that receipt counts)."""
    return store.put(paths.receipt(key, receipt.block, receipt.blocks), receipt.encode(), if_absent=True)


def assemble(stage: FrozenStage, receipts: Sequence[Receipt]) -> Manifest:
    """Assemble a manifest from the receipts of all blocks, in any order. Raises MisstepError if their parts or
    summaries contradict each other."""
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
        fix = "`misstep artifacts verify` and `misstep run --repair` check each of them."
        raise MisstepError(f"{stage.key}: the receipts contradict each other: {problem}. {fix}") from error


def commit(store: Store, stage: FrozenStage, blocks: int) -> Manifest:
    """Write the manifest of a stage whose blocks all have receipts, and return the committed one: this writer's or, if
    another was first, the other's. Raises Foreign if that one belongs to another stage."""
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda block: read_receipt(store, stage.key, block, blocks), range(blocks)))
    missing = [block for block, receipt in enumerate(receipts) if receipt is None]
    if missing:
        raise MisstepError(f"{stage.key}: the receipts of blocks {missing[:5]} were removed in the meantime")
    manifest = assemble(stage, [receipt for receipt in receipts if receipt is not None])
    if store.put(paths.manifest(stage.key), manifest.encode(), if_absent=True):
        return manifest
    committed = read_own(store, stage)
    if committed is None:
        raise MisstepError(f"{stage.key}: its manifest was written, then removed in the meantime")
    return committed


class Damaged(BadInput):
    """A stored object differs from its manifest, or the manifest itself is not valid."""

    def __init__(self, path: str, problem: str, fix: str = "") -> None:
        repaired = "`misstep run --repair` removes what is damaged and computes only that again."
        super().__init__(path, problem, fix or repaired)


class Foreign(Damaged):
    """A manifest under a key that belongs to something else: no stage has written it."""

    def __init__(self, store: Readable, key: str, problem: str) -> None:
        fix = (
            f"No stage of this key wrote it: check who can write to {store.uri}, and what it holds (`misstep artifacts "
            f"show {key}`). Then run `misstep run --repair`, or delete everything below {key}/, to compute it again."
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
