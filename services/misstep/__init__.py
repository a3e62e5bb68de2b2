"""Misstep turns a language model's own wrong solutions into training data.

``misstep.Experiment`` is the command line as a library (docs/python.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from misstep.api.artifacts import Artifact, Artifacts
    from misstep.api.experiment import Experiment
    from misstep.api.planned import Planned
    from misstep.api.run import Run
    from misstep.api.running import RunStopped, StageFailed
    from misstep.api.status import Status
    from misstep.errors import BadInput, MisstepError
    from misstep.runner.events import Event

__version__ = "0.1.0"
__all__ = [
    "Artifact",
    "Artifacts",
    "BadInput",
    "Event",
    "Experiment",
    "MisstepError",
    "Planned",
    "Run",
    "RunStopped",
    "StageFailed",
    "Status",
    "__version__",
]

_HOMES = {
    "Artifact": "misstep.api.artifacts",
    "Artifacts": "misstep.api.artifacts",
    "BadInput": "misstep.errors",
    "Event": "misstep.runner.events",
    "Experiment": "misstep.api.experiment",
    "MisstepError": "misstep.errors",
    "Planned": "misstep.api.planned",
    "Run": "misstep.api.run",
    "RunStopped": "misstep.api.running",
    "StageFailed": "misstep.api.running",
    "Status": "misstep.api.status",
}
"""Where each public name is defined. It is imported when it is first used: pods and stages import this package too."""


def __getattr__(name: str) -> Any:
    """Import a public name."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
