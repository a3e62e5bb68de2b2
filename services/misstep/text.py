"""Short texts for people: durations, sizes, names of nested values, and what was probably meant by a misspelt name.
Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def did_you_mean(given: str, names: Iterable[str], otherwise: str, cutoff: float = 0.4) -> str:
    """Return ``Did you mean NAME?`` with the nearest of some names, or ``otherwise`` where none is near.

    Args:
        cutoff: how alike two names must be, from 0 to 1.
    """
    import difflib

    close = difflib.get_close_matches(given, list(names), n=1, cutoff=cutoff)
    return f"Did you mean {close[0]}?" if close else otherwise


def dotted_values(nested: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with their dotted names, such as ``optimiser.epochs``; an empty mapping has
    none.

    Args:
        at: what all names begin with.
    """
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from dotted_values(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def duration_text(seconds: float) -> str:
    """Return a duration as ``8.2 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size_text(size: float, *, decimal: bool = False) -> str:
    """Return a number of bytes as ``1.5 MiB``; with ``decimal`` in powers of 1000, as file managers do: ``1.6 MB``."""
    base, *units = (1000, "B", "kB", "MB", "GB", "TB") if decimal else (1024, "B", "KiB", "MiB", "GiB", "TiB")
    for unit in units[:-1]:
        if size < base:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= base
    return f"{size:.1f} {units[-1]}"


def memory_text(mib: float) -> str:
    """Return an amount of memory, in MiB, as ``23.5 GiB`` or ``120 MiB``, rounded up."""
    return f"{math.ceil(mib)} MiB" if mib < 1000 else f"{math.ceil(mib / 102.4) / 10:.1f} GiB"
