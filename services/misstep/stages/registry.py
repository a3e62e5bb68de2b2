"""The code of each kind of stage, by name and not imported, because each loads its own heavy libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from misstep.plan.kinds import KINDS, StageKind
from misstep.stages.context import StageContext, Work

REGISTRY: Mapping[StageKind, str] = {kind: of.work for kind, of in KINDS.items()}


def find_work(kind: StageKind, registry: Mapping[StageKind, str] = REGISTRY) -> Callable[[StageContext], Work]:
    """Import and return the function that opens the work of a kind."""
    module, _, function = registry[kind].partition(":")
    found: Callable[[StageContext], Work] = getattr(import_module(module), function)
    return found
