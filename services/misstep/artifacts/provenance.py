"""Whether a manifest says of an artifact what its key says. Pure.

A key is a hash of the stage's kind, its result version, its parameters, its inputs' keys and the digests of its
externals (`misstep.plan.frozen.stage_key`), and a manifest holds all but the version. So whoever knows a key alone can
tell that the manifest below it is that of another stage: it takes 2^80 tries to make one with another content. What no
key says is what the stage found: whoever may write a store may write other results under a true description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from misstep.plan.frozen import FrozenStage, key_of
from misstep.plan.kinds import KINDS

if TYPE_CHECKING:
    from misstep.artifacts.manifest import Manifest

_LATEST = 100
"""Versions that are tried: those of before, and some that a newer Misstep may have."""
_SHOWN = 4
_LONGEST = 60
_NOTHING = object()


def is_of_its_key(manifest: Manifest) -> bool:
    """Return whether a manifest's key is made from what it says."""
    first = KINDS[manifest.kind].version
    versions = (first, *(version for version in range(1, _LATEST + 1) if version != first))
    said = manifest.params, manifest.inputs, manifest.externals
    try:
        return any(key_of(manifest.kind, version, *said) == manifest.key for version in versions)
    except ValueError:  # NaN or an infinite number, which no key is made from
        return False


def differences(stage: FrozenStage, manifest: Manifest) -> list[str]:
    """Name the fields in which a manifest is not of a stage, with what is there and what should be; empty where it is.

    Name, storage, shards and resources are not compared: none of them determines a result.
    """
    wanted = {
        "kind": stage.kind.value,
        "params": stage.params,
        "inputs": stage.inputs,
        "externals": {role: external.digest for role, external in stage.externals.items()},
    }
    found = {
        "kind": manifest.kind.value,
        "params": manifest.params,
        "inputs": manifest.inputs,
        "externals": manifest.externals,
    }
    return list(_apart(found, wanted, ""))


def in_words(different: list[str]) -> str:
    """Return the first few differences, and how many there are."""
    more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    return "; ".join(different[:_SHOWN]) + more


def _apart(found: Any, wanted: Any, at: str) -> Iterator[str]:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted(found.keys() | wanted.keys()):
            inner = f"{at}.{name}" if at else name
            yield from _apart(found.get(name, _NOTHING), wanted.get(name, _NOTHING), inner)
    elif _plain(found) != _plain(wanted):
        yield f"{at} is {_said(found)} instead of {_said(wanted)}"


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


def _said(value: Any) -> str:
    text = "absent" if value is _NOTHING else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
