"""The names of everything below an artifact's key, in one place; ``docs/artifacts.md`` describes the same."""

from __future__ import annotations

import re

from misstep.plan.kinds import StageKind

KEY = re.compile(rf"(?:{'|'.join(kind.value for kind in StageKind)})-[0-9a-f]{{20}}")
RECEIPT = re.compile(r"blocks/([0-9]{5,10})-of-([0-9]{5,10})\.json")
CHECKPOINT = re.compile(r"checkpoints/([0-9]{8,12})/manifest\.json")
CHECKPOINT_FILE = re.compile(r"checkpoints/([0-9]{8,12})/.*")
_HASH = 16
"""Hex digits of sha256 in a name: enough to keep a late twin's other bytes apart; readers check the whole hash."""


def manifest(key: str) -> str:
    """Say where an artifact's manifest lies."""
    return f"{key}/manifest.json"


def receipt(key: str, block: int, blocks: int) -> str:
    """Say where the receipt of a finished block lies."""
    return f"{key}/blocks/{block:05d}-of-{blocks:05d}.json"


def table_part(table: str, block: int, blocks: int, sha256: str) -> str:
    """Say where a block's rows of one table lie, below the key."""
    return f"{table}/block-{block:05d}-of-{blocks:05d}-{sha256[:_HASH]}.parquet"


def file_part(path: str, sha256: str) -> str:
    """Say where a file lies, below the key."""
    return f"files/{sha256[:_HASH]}/{path}"


def progress(key: str, shard: int) -> str:
    """Say where a shard's heartbeat lies."""
    return f"{key}/progress/{shard}.json"


def checkpoint(key: str, step: int) -> str:
    """Name the folder of the checkpoint of one training step."""
    return f"{key}/checkpoints/{step:08d}"


def out_of_memory(key: str) -> str:
    """Say where a stage notes which size of micro-batch did not fit into memory; removed with the checkpoints."""
    return f"{key}/checkpoints/out-of-memory.json"


def split_key(path: str) -> tuple[str, str] | None:
    """Split a stored path into an artifact's key and what lies below it; None where it belongs to no artifact."""
    key, _, below = path.partition("/")
    return (key, below) if KEY.fullmatch(key) and below else None


TEACHER_REQUESTS = "teacher-requests/"
"""Where answers of teachers lie that were paid for: outside every artifact, for any stage that asks the same."""


def teacher_request(sha256: str) -> str:
    """Say where the answer to one request lies, by the hash of what was asked."""
    return f"{TEACHER_REQUESTS}{sha256[:2]}/{sha256}.json"


EXTERNAL = "external/"
"""Where `misstep upload` puts data and models, outside every artifact."""
EXTERNAL_COPY = re.compile(rf"{EXTERNAL}([0-9a-f]{{64}})/.+")


def external_copy(digest: str, path: str = "") -> str:
    """Say where an uploaded copy lies, by its digest, ``sha256:<hex>``, or where one of its files does."""
    return f"{EXTERNAL}{digest.removeprefix('sha256:')}" + (f"/{path}" if path else "")
