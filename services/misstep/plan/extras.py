"""The extras of the package: which libraries each one brings, and which of them are not installed here.

The core alone validates and plans. Whatever runs stages, or reads their tables, needs more. A command says so before it
starts anything, once, with the command that installs it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import KINDS

VLLM = "vllm-gpu"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Extra:
    """What an extra brings."""

    modules: tuple[str, ...] = ()
    """Libraries of its own, by the names that are imported."""
    contains: tuple[str, ...] = ()
    """Other extras that come with it."""


EXTRAS: dict[str, Extra] = {
    "records": Extra(("prometheus_client", "pyarrow")),
    "operator": Extra(("aiohttp", "ijson", "kubernetes", "prometheus_client")),
    "verification": Extra(("math_verify",), ("records",)),
    "problems": Extra(("datasets", "numpy", "rapidfuzz"), ("verification",)),
    "generation": Extra(("numpy", "torch", "transformers"), ("records",)),
    "credit": Extra(("rapidfuzz",), ("generation", "verification")),
    VLLM: Extra(("vllm",), ("credit",)),
    "synthesis": Extra(("anyio", "httpx2", "rapidfuzz", "tenacity"), ("generation", "verification")),
    "training": Extra(
        ("accelerate", "datasets", "deepspeed", "peft", "rapidfuzz", "trl"), ("generation", "verification")
    ),
    "evaluation": Extra(("jinja2", "matplotlib", "numpy", "scipy"), ("records",)),
    "local": Extra((), ("problems", "credit", "synthesis", "training", "evaluation")),
    "mlflow": Extra(("mlflow",)),
    "wandb": Extra(("wandb",)),
    "trackio": Extra(("trackio",)),
    "tensorboard": Extra(("tensorboard",)),
    "trackers": Extra((), ("mlflow", "wandb", "trackio", "tensorboard")),
    "hub": Extra(("huggingface_hub", "pyarrow")),
    "python": Extra(("pandas",), ("records",)),
}
"""The optional dependencies of ``pyproject.toml``; a test compares them."""


class NotInstalled(BadInput):
    """A command, or a stage, needs libraries that are not installed."""

    def __init__(self, what: str, modules: Iterable[str], extra: str) -> None:
        names = sorted(modules)
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        value = f"not installed: {', '.join(names[:_MOST_NAMED])}{more}"
        fix = f'Install what it needs: pip install "misstep[{extra}]".'
        if VLLM in extra.split(","):
            fix += " That vLLM is for GPUs; for processor cores run `make vllm` in a checkout (docs/engines.md)."
        super().__init__(what, value, fix)


def need(what: str, *extras: str) -> None:
    """Check that the libraries of some extras are installed. Imports none of them.

    Args:
        what: the command or the stage that needs them, for the message.

    Raises:
        NotInstalled: some are not; the message names the smallest extra that has them all.
    """
    lacking = {extra: found for extra in extras if (found := missing(extra))}
    if lacking:
        raise NotInstalled(what, set().union(*lacking.values()), smallest(lacking))


def missing(extra: str) -> frozenset[str]:
    """Return the libraries of an extra, also of those that it contains, that are not installed here."""
    return frozenset(module for module in modules_of(extra) if not _is_there(module))


def modules_of(extra: str) -> frozenset[str]:
    """Return the libraries that come with an extra."""
    one = EXTRAS[extra]
    return frozenset(one.modules).union(*(modules_of(other) for other in one.contains))


def extras_of(stages: Iterable[FrozenStage]) -> frozenset[str]:
    """Return the extras that stages need where they run."""
    found: set[str] = set()
    for stage in stages:
        found.add(KINDS[stage.kind].extra)
        if (stage.params.get("decoding") or {}).get("engine") == "vllm":
            found.add(VLLM)
    return frozenset(found)


def smallest(extras: Iterable[str]) -> str:
    """Return the smallest extra that contains all of these, or else several, joined as pip takes them."""
    wanted = set(extras)
    all_of = {name: modules_of(name) for name in EXTRAS}
    fitting = [name for name in EXTRAS if all(all_of[extra] <= all_of[name] for extra in wanted)]
    if fitting:
        return min(fitting, key=lambda name: len(all_of[name]))
    return ",".join([smallest(wanted - {VLLM}), VLLM] if VLLM in wanted else sorted(wanted))


def extra_with(module: str) -> str | None:
    """Return the smallest extra that brings a library; None where none does."""
    fitting = [name for name in EXTRAS if module.partition(".")[0] in modules_of(name)]
    return min(fitting, key=lambda name: len(modules_of(name)), default=None)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is imported, by a loader that left no specification
        return True
