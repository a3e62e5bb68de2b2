"""Check that a manifest describes the stage that its key names. Pure.

A key is a hash of the stage's kind, its result version, its parameters, its inputs' keys and the digests of its
externals (`misstep.plan.frozen.stage_key`), and a manifest holds all but the version. So the key alone is enough to
detect a manifest of another stage: forging one takes 2^80 tries. The key says nothing about the results: anyone who can
write to a store can put other results under a true description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from misstep.plan.frozen import FrozenStage, key_of
from misstep.plan.kinds import KINDS

if TYPE_CHECKING:
    from misstep.artifacts.manifest import Manifest

_LATEST = 100
"""Result versions to try: all earlier ones, and some that a newer Misstep may have."""
_SHOWN = 4
_LONGEST = 60
_NOTHING = object()


def is_of_its_key(manifest: Manifest) -> bool:
    """Return whether a manifest's key follows from its contents."""
    first = KINDS[manifest.kind].version
    versions = (first, *(version for version in range(1, _LATEST + 1) if version != first))
    said = manifest.params, manifest.inputs, manifest.externals
    try:
        return any(key_of(manifest.kind, version, *said) == manifest.key for version in versions)
    except ValueError:  # NaN or an infinite number, which no key can contain
        return False


def differences(stage: FrozenStage, manifest: Manifest) -> list[str]:
    """Return the fields in which a manifest differs from a stage, with actual and expected values; empty if none.

    Name, storage, shards and resources are not compared: they do not determine the result.
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
