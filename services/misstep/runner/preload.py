"""Which modules a stage kind needs in memory before a process for it is forked.

What is missing here costs each process of that kind its import again; what is not installed is passed over.
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
_S3 = ("botocore.session", "misstep.store.s3")
_ORDER = (*_SHELL, *_S3, *IMPORT_ORDER)


def modules_of_parent(*, s3: bool = False) -> tuple[str, ...]:
    """Return what a stage's process imports where its work is done by ranks that it starts."""
    return (*_SHELL, *(_S3 if s3 else ()), "misstep.distributed.launch")


def modules_of(kind: StageKind, *, s3: bool = False) -> tuple[str, ...]:
    """Return what one kind imports: the shell, its libraries, and the code that does its work."""
    work, _, _ = KINDS[kind].work.partition(":")
    return (*_SHELL, *(_S3 if s3 else ()), *KINDS[kind].imports, work)


def in_order(kinds: Iterable[StageKind], *, s3: bool = False) -> list[str]:
    """Return every module that these kinds need, once. What the light kinds need comes before torch, so that a
    plan's first stage (problems) runs while the rest is still being imported."""

    def place(kind: StageKind) -> int:
        return max((_ORDER.index(module) for module in KINDS[kind].imports), default=0)

    ordered = sorted(set(kinds), key=lambda kind: (place(kind), kind))
    return list(dict.fromkeys(module for kind in ordered for module in modules_of(kind, s3=s3)))
