"""Counts and figures of blocks, as plain JSON, and how to merge those of several blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from misstep.errors import MisstepError


def plain(value: Any, where: str = "summary") -> Any:
    """Return the value as JSON data: mappings with string keys, lists, strings, numbers, booleans, None.

    A float that is not finite becomes None. Raises MisstepError, naming the place, for anything else.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(name, where): plain(inner, f"{where}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    raise MisstepError(f"{where} holds a {type(value).__name__}, which JSON cannot hold")


def merge(summaries: Sequence[Mapping[str, Any]], where: str = "summary") -> dict[str, Any]:
    """Merge the summaries of all blocks: integers are added up (absent counts as 0), nested mappings are merged in the
    same way, anything else (booleans too) must be present and equal in every block. Raises MisstepError naming the
    field."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for summary in summaries for name in summary):
        values = [summary[name] for summary in summaries if name in summary]
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            merged[name] = sum(values)
        elif all(isinstance(value, Mapping) for value in values):
            merged[name] = merge(values, f"{where}.{name}")
        elif len(values) == len(summaries) and all(_same(value, values[0]) for value in values):
            merged[name] = values[0]
        else:
            raise MisstepError(f"{where}.{name} differs between blocks and is not a count: {_few(values)}")
    return merged


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _few(values: Sequence[Any]) -> str:
    distinct = list(dict.fromkeys(map(repr, values)))
    return ", ".join(distinct[:3]) + (", ..." if len(distinct) > 3 else "")


def _text(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise MisstepError(f"{where} has the key {name!r}, which is not a string")
    return name
