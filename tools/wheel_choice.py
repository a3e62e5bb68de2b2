"""Choose which packages a GPU machine lacks for `make gpu-check`, each for a stated reason. Pure.

The walk starts at Misstep with everything that runs on one machine, and follows requirements as they stand in the
packages that are installed here, in the versions of the lock. It stops at what the machine has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRA = "local"
"""The extra with everything that runs on one machine. vLLM is not in it."""
OWN = {
    "torch": "built for the machine's driver",
    "transformers": "the machine's own is what is tried",
    "tokenizers": "goes with transformers",
    "huggingface-hub": "goes with transformers",
    "safetensors": "goes with transformers",
    "accelerate": "goes with transformers",
    "numpy": "the machine's torch is built against its own",
}
"""Packages that are the machine's in any case, whatever their version."""
OF_TORCH = ("triton", "nvidia-", "cuda-")
"""Beginnings of the names of packages that come with torch."""
LEFT_OUT = {
    "boto3": "the check uses folders as stores; S3 stores cannot be used",
    "httpx2": "no server of a teacher is asked",
    "tenacity": "no server of a teacher is asked",
}
"""Packages that the check does not need -> what cannot be done without them. They can be asked for by name."""
NOT_USUAL = {"typer"}
"""What only recent versions of transformers need: with what it needs itself, it is not taken to be on a machine."""
NOT_HERE = {"vllm": "about 1 GB with what it needs: the engine `transformers` samples, and vLLM is not tried"}
"""What is never in the folder."""

Needs = Callable[[str, frozenset[str]], Iterable[Requirement]]
"""Gives the requirements of a package with some extras."""


@dataclass
class Choice:
    """What goes into the folder, and what does not."""

    carried: dict[str, str] = field(default_factory=dict)
    """Package -> who needs it, or why the machine's version does not do."""
    there: dict[str, str] = field(default_factory=dict)
    """Package that the machine has, or is taken to have -> the versions that are asked for, such as ``>=14``."""
    own: dict[str, str] = field(default_factory=dict)
    """The machine's in any case -> why."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Left out -> what cannot be done without it."""


def choose(
    have: Mapping[str, str | None], needs: Needs, environment: Mapping[str, str], asked: Iterable[str]
) -> Choice:
    """Walk over what Misstep needs.

    Args:
        have: the machine's packages, by canonical name -> version, None where it is not known.
        environment: for the markers of requirements, those of the machine's Python.
        asked: packages of ``LEFT_OUT`` that are wanted all the same.
    """
    choice = Choice(left_out=dict(NOT_HERE))
    wanted, seen = {canonicalize_name(name) for name in asked}, set()
    queue = [("misstep", frozenset({EXTRA}), "")]
    while queue:
        name, extras, parent = queue.pop(0)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if parent and name != "misstep":
            choice.carried.setdefault(name, f"for {parent}")
        for need in needs(name, extras):
            if not applies(need, extras, environment):
                continue
            found = canonicalize_name(need.name)
            if found in OWN or found.startswith(OF_TORCH):
                choice.own[found] = OWN.get(found, "comes with torch")
            elif found in LEFT_OUT and found not in wanted:
                choice.left_out[found] = LEFT_OUT[found]
            elif found in have and _does(need, have[found]):
                asked_for = {*choice.there.get(found, "").split(","), *str(need.specifier).split(",")} - {""}
                choice.there[found] = ",".join(sorted(asked_for))
            else:
                if found in have and found not in choice.carried:
                    choice.carried[found] = f"{name} needs {need.specifier}, and the machine has {have[found]}"
                queue.append((found, frozenset(need.extras), name))
    for name in choice.carried:
        choice.there.pop(name, None)
    return choice


def applies(need: Requirement, extras: frozenset[str], environment: Mapping[str, str]) -> bool:
    """Return whether a requirement is one on that machine, with any of these extras."""
    return need.marker is None or any(
        need.marker.evaluate({**environment, "extra": extra}) for extra in (extras or frozenset({""}))
    )


def _does(need: Requirement, version: str | None) -> bool:
    return version is None or need.specifier.contains(version, prereleases=True)


def installed_needs(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return the requirements of a package that is installed here; of Misstep itself, those in pyproject.toml.

    Raises:
        LookupError: it is not installed here, so that what it needs is not known.
    """
    if name == "misstep":
        return own_needs(extras)
    try:
        return [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError as error:
        raise LookupError(f"{name} is not installed here: run `make setup`") from error


def own_needs(extras: frozenset[str]) -> list[Requirement]:
    """Return what pyproject.toml asks for, with some extras."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines: list[str] = list(project["dependencies"]) if EXTRA in extras or not extras else []
    for extra in sorted(extras):
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def direct_needs() -> set[str]:
    """Return the names of the packages that pyproject.toml asks for, for everything that runs on one machine."""
    found, seen, extras = set(), set(), [EXTRA]
    while extras:
        seen.add(extra := extras.pop())
        for need in own_needs(frozenset({extra})):
            if need.name == "misstep":
                extras += need.extras - seen
            else:
                found.add(canonicalize_name(need.name))
    return found | {canonicalize_name(need.name) for need in own_needs(frozenset())}


def usual_machine(needs: Needs, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a machine with torch, transformers and accelerate has at least: these and what they need."""
    have: dict[str, str | None] = {}
    queue = ["torch", "transformers", "accelerate"]
    while queue:
        name = queue.pop()
        if name in have or name in NOT_USUAL:
            continue
        have[name] = None
        no_extras: frozenset[str] = frozenset()
        if name.startswith(OF_TORCH):
            continue  # which of these there are differs from torch to torch, and nobody else needs them
        queue += [
            canonicalize_name(need.name) for need in needs(name, no_extras) if applies(need, no_extras, environment)
        ]
    return have


def listed(lines: Iterable[str]) -> dict[str, str | None]:
    """Read ``pip list --format=freeze``, or names with or without ``==version``."""
    have: dict[str, str | None] = {}
    for line in lines:
        found = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:==\s*(\S+)|@|$)", line.strip())
        if found:
            have[canonicalize_name(found[1])] = found[2]
    return have


def environment_of(python: str) -> dict[str, str]:
    """Return the markers' environment of another Python, such as ``3.12``, on Linux."""
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}  # type: ignore[dict-item]


def locked(lock: str) -> dict[str, str]:
    """Read a lock: canonical name -> its lines, with version and hashes."""
    parts = re.finditer(r"^([\w.-]+)==.*?[^\\]$", lock, re.MULTILINE | re.DOTALL)
    return {canonicalize_name(part[1]): part[0] for part in parts}


def version_of(entry: str) -> str:
    """Return the version in a lock's lines of one package."""
    return entry.split("==", 1)[1].split(maxsplit=1)[0].rstrip("\\;")
