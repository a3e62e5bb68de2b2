"""Which modules the fork server imports before it forks a process of a kind of stage.

A module that is missing here is imported by each process again; one that is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from misstep.plan.kinds import IMPORT_ORDER, KINDS, StageKind

_SHELL = (
    "misstep.stages.main",
    "structlog",
    "pyarrow.parquet",
    "pyarrow.compute",
    "pandas",  # pyarrow looks for it when it converts Python values
    "misstep.stages.logs",
    "misstep.stages.shell",
    "misstep.stages.runtime",
    "misstep.store.local",
    "misstep.artifacts.writer",
    "misstep.verification.verifier",
)
_S3 = ("misstep.store.s3",)
_ORDER = (*_SHELL, *_S3, *IMPORT_ORDER)


def modules_of_parent(*, s3: bool = False) -> tuple[str, ...]:
    """Return the modules of a stage's process that only starts ranks, which do the work."""
    return (*_SHELL, *(_S3 if s3 else ()), "misstep.distributed.launch")


def modules_of(kind: StageKind, *, s3: bool = False) -> tuple[str, ...]:
    """Return the modules of one kind: the shell, its libraries, and the code that does its work."""
    work, _, _ = KINDS[kind].work.partition(":")
    return (*_SHELL, *(_S3 if s3 else ()), *KINDS[kind].imports, work)


def in_order(kinds: Iterable[StageKind], *, s3: bool = False) -> list[str]:
    """Return every module that these kinds need, each once.

    Modules of the light kinds come before torch, so that a plan's first stage runs while the rest is imported.
    """

    def place(kind: StageKind) -> int:
        return max((_ORDER.index(module) for module in KINDS[kind].imports), default=0)

    ordered = sorted(set(kinds), key=lambda kind: (place(kind), kind))
    return list(dict.fromkeys(module for kind in ordered for module in modules_of(kind, s3=s3)))
