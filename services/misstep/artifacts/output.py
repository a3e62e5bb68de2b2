"""What one block of a stage's work brings, before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Summary = Mapping[str, Any]
"""JSON-like counts and figures of one block. Integers of several blocks are added up, also in nested mappings; anything
else must be equal in all blocks."""


@dataclass(frozen=True)
class Output:
    """The output of one block of work: tables (by the names in ``records.TABLES``), files, and counts."""

    tables: Mapping[str, pa.Table | Iterable[pa.RecordBatch]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    """Path inside the artifact -> local file."""
    summary: Summary = field(default_factory=dict)
