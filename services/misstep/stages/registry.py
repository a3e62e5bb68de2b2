"""Which code does the work of each kind of stage. Named, not imported: each pulls in its own heavy libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from misstep.plan.kinds import KINDS, StageKind
from misstep.stages.context import StageContext, Work

REGISTRY: Mapping[StageKind, str] = {kind: of.work for kind, of in KINDS.items()}


def find_work(kind: StageKind, registry: Mapping[StageKind, str] = REGISTRY) -> Callable[[StageContext], Work]:
    """Import and return the function that opens a kind's work."""
    module, _, function = registry[kind].partition(":")
    found: Callable[[StageContext], Work] = getattr(import_module(module), function)
    return found
