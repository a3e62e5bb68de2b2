"""A structural schema at work without an API server: its defaults, and its CEL rules."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel

from misstep_operator.crd.cel import OR_EDITED


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Fill in defaults as the API server does: fields of objects that are there."""
    if isinstance(value, dict) and "properties" in schema:
        found = {name: f["default"] for name, f in schema["properties"].items() if "default" in f} | value
        return {name: with_defaults(schema["properties"].get(name, {}), item) for name, item in found.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), item) for item in value]
    return value


def judged(schema: dict[str, Any], value: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield each rule that applies to a value or what is in it, with its message and whether it holds."""
    for entry in schema.get("x-kubernetes-validations", ()):
        yield entry["rule"], entry["message"], _holds(entry["rule"], _typed(schema, value))
    if isinstance(value, dict):
        for name, item in value.items():
            yield from judged(schema.get("properties", {}).get(name) or schema.get("additionalProperties", {}), item)
    if isinstance(value, list):
        for item in value:
            yield from judged(schema["items"], item)


def _typed(schema: dict[str, Any], value: Any) -> Any:
    """Make whole numbers doubles where the schema says number, as the API server does for its rules."""
    if isinstance(value, dict):
        fields, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {name: _typed(fields.get(name, other), item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(schema.get("items", {}), item) for item in value]
    return float(value) if schema.get("type") == "number" else value


def rules(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every rule of a schema with its message."""
    yield from ((entry["rule"], entry["message"]) for entry in schema.get("x-kubernetes-validations", ()))
    inside = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for part in inside:
        if part:
            yield from rules(part)


def _holds(rule: str, value: Any) -> bool:
    return bool(_program(rule).evaluate({"self": json_to_cel(value)}))


@functools.cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    rule = rule.removesuffix(OR_EDITED)  # what is judged here is new
    return environment.program(environment.compile(rule), functions={"isSorted": _is_sorted})


def _is_sorted(values: celtypes.ListType) -> celtypes.BoolType:
    """Kubernetes' own addition to CEL."""
    pairs: Iterator[tuple[Any, Any]] = itertools.pairwise(values)
    return celtypes.BoolType(all(first <= second for first, second in pairs))
