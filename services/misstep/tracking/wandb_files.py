"""What W&B's file of an offline run holds: the names of metrics, their last steps, and the summary.

The file is a log of records in blocks of 32 KiB, the log format of LevelDB. A record is a protobuf message. W&B's
library writes such files and sends them, and has nothing for reading them here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from misstep.tracking.runs import Logged

_BLOCK = 32768
_MAGIC = b":W&B"
_FILE_HEADER = 7
_HEADER = struct.Struct("<IHB")
"""Checksum, length, and whether the piece is a whole record (1), or its first (2), middle (3) or last (4) part."""
_WHOLE, _FIRST, _LAST = 1, 2, 4


def logged_in(files: list[Path]) -> Logged:
    """Return what the files of one run hold, up to where a killed process has left them."""
    steps: dict[str, int] = {}
    facts: set[str] = set()
    uploaded: set[str] = set()
    finished = False
    for path in files:
        for record in records(path.read_bytes()):
            match record.WhichOneof("record_type"):
                case "history":
                    for item in record.history.item:
                        name = item.key or "/".join(item.nested_key)
                        steps[name] = max(record.history.step.num, steps.get(name, 0))
                case "summary":
                    facts |= {item.key or "/".join(item.nested_key) for item in record.summary.update}
                case "artifact":
                    uploaded.add(record.artifact.name)
                case "exit":
                    finished = finished or record.exit.exit_code == 0
    return Logged(steps=steps, facts=frozenset(facts), files=frozenset(uploaded), finished=finished)


def records(data: bytes) -> Iterator[Any]:
    """Yield the whole records of a file; nothing where it is not such a file."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # generated for each protobuf

    if data[: len(_MAGIC)] != _MAGIC:
        return
    at, whole = _FILE_HEADER, b""
    while at + _HEADER.size <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER.size:  # too little room for a header: the block's rest is padding
            at += _BLOCK - at % _BLOCK
            continue
        _, length, part = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        piece = data[at : at + length]
        if len(piece) < length or not part:
            return
        at += length
        whole = piece if part in (_WHOLE, _FIRST) else whole + piece
        if part in (_WHOLE, _LAST):
            record = Record()
            record.ParseFromString(whole)
            yield record
