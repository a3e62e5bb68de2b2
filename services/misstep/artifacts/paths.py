"""The paths of all objects below an artifact's key; ``docs/artifacts.md`` describes them."""

from __future__ import annotations

import re

from misstep.plan.kinds import StageKind

KEY = re.compile(rf"(?:{'|'.join(kind.value for kind in StageKind)})-[0-9a-f]{{20}}")
RECEIPT = re.compile(r"blocks/([0-9]{5,10})-of-([0-9]{5,10})\.json")
HEARTBEAT = re.compile(r"progress/[0-9]{1,10}\.json")
CHECKPOINT = re.compile(r"checkpoints/([0-9]{8,12})/manifest\.json")
CHECKPOINT_FILE = re.compile(r"checkpoints/([0-9]{8,12})/.*")
_HASH = 16
"""Hex digits of sha256 in a name: enough to separate different bytes of a late twin; readers check the whole hash."""


def manifest(key: str) -> str:
    """Return the path of an artifact's manifest."""
    return f"{key}/manifest.json"


def receipt(key: str, block: int, blocks: int) -> str:
    """Return the path of a finished block's receipt."""
    return f"{key}/blocks/{block:05d}-of-{blocks:05d}.json"


def table_part(table: str, block: int, blocks: int, sha256: str) -> str:
    """Return the path of a block's rows of one table, below the key."""
    return f"{table}/block-{block:05d}-of-{blocks:05d}-{sha256[:_HASH]}.parquet"


def file_part(path: str, sha256: str) -> str:
    """Return the path of a file, below the key."""
    return f"files/{sha256[:_HASH]}/{path}"


def progress(key: str, shard: int) -> str:
    """Return the path of a shard's heartbeat."""
    return f"{key}/progress/{shard}.json"


def live_log(key: str) -> str:
    """Return the path of the log of a training that still runs; removed with the heartbeats."""
    return f"{key}/progress/log.json"


def checkpoint(key: str, step: int) -> str:
    """Return the folder of the checkpoint of one training step."""
    return f"{key}/checkpoints/{step:08d}"


def out_of_memory(key: str) -> str:
    """Return the path of the note on which micro-batch did not fit into memory; removed with the checkpoints."""
    return f"{key}/checkpoints/out-of-memory.json"


def split_key(path: str) -> tuple[str, str] | None:
    """Split a stored path into an artifact's key and the rest; None if it belongs to no artifact."""
    key, _, below = path.partition("/")
    return (key, below) if KEY.fullmatch(key) and below else None


TEACHER_REQUESTS = "teacher-requests/"
"""The folder of teachers' answers. They were paid for, so they lie outside all artifacts and any stage that asks the
same uses them."""


def teacher_request(sha256: str) -> str:
    """Return the path of the answer to one request, by the request's hash."""
    return f"{TEACHER_REQUESTS}{sha256[:2]}/{sha256}.json"


EXTERNAL = "external/"
"""The folder in which `misstep upload` stores data and models, outside all artifacts."""
EXTERNAL_COPY = re.compile(rf"{EXTERNAL}([0-9a-f]{{64}})/.+")


def external_copy(digest: str, path: str = "") -> str:
    """Return the path of an uploaded copy, by its digest (``sha256:<hex>``), or of one of its files."""
    return f"{EXTERNAL}{digest.removeprefix('sha256:')}" + (f"/{path}" if path else "")
