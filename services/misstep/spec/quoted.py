"""Numbers in quotes, which numbers with a fraction needed before 0.2: still read from a file, with a note."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from misstep.spec.experiment import Experiment
from misstep.spec.explain import fields_of, nested_model
from misstep.spec.fields import dotted, is_quoted_number, number_text

Place = tuple[str | int, ...]
"""Keys of mappings and positions in lists, from the top of the document."""
_MOST_NAMED = 3


def quoted_numbers(document: Mapping[str, Any]) -> list[tuple[Place, float]]:
    """Find the quoted numbers in a valid Experiment's document, and their positions."""
    return list(_found(Experiment, document, ()))


def quoted_note(document: Mapping[str, Any]) -> str:
    """Return a note on which numbers should lose their quotes; empty if there are none."""
    found = quoted_numbers(document)
    if not found:
        return ""
    named = ", ".join(f"{dotted(place)}: {number_text(number)}" for place, number in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return (
        f"write numbers without quotes: {named}{more}. A cluster refuses them in quotes, and so will the next release"
    )


def _found(model: type[BaseModel], values: Any, place: Place) -> Iterator[tuple[Place, float]]:
    if not isinstance(values, Mapping):
        return
    for name, info in fields_of(model).items():
        value, nested = values.get(name), nested_model(info.annotation)
        items = enumerate(value) if isinstance(value, list) else None
        placed = [((*place, name), value)] if items is None else [((*place, name, i), item) for i, item in items]
        for where, item in placed:
            if nested is not None:
                yield from _found(nested, item, where)
            elif isinstance(item, str) and is_quoted_number(item) and _holds_numbers(info.annotation):
                yield where, float(item)


def _holds_numbers(annotation: Any) -> bool:
    return annotation is float or any(_holds_numbers(each) for each in typing.get_args(annotation))
