"""Field documentation of the Experiment, like ``kubectl explain``, generated from the types."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from misstep.errors import BadInput
from misstep.spec.experiment import Experiment
from misstep.spec.fields import number_text
from misstep.text import did_you_mean


def explain(path: str) -> str:
    """Describe the field at a dotted path such as ``spec.credit.rollouts``.

    Raises:
        BadInput: there is no such field; the error names the closest one.
    """
    parts = [p for p in path.strip().strip(".").split(".") if p]
    if parts and parts[0].lower() == "experiment":
        parts = parts[1:]
    model: type[BaseModel] = Experiment
    info: FieldInfo | None = None
    for depth, part in enumerate(parts):
        fields = fields_of(model) if (info is None or depth == 0 or nested_model(info.annotation)) else {}
        if part not in fields:
            where = ".".join(parts[:depth]) or "Experiment"
            fix = did_you_mean(part, fields, f"{where} has: {', '.join(fields) or 'no fields'}.")
            raise BadInput(path, f"no field {part} in {where}", fix)
        info = fields[part]
        model = nested_model(info.annotation) or model
    nested = Experiment if info is None else nested_model(info.annotation)
    return _render(parts, info, nested)


def model_at(parts: list[str]) -> type[BaseModel] | None:
    """Return the model type at a path of field names, or None."""
    model: type[BaseModel] | None = Experiment
    for part in parts:
        info = fields_of(model).get(part) if model else None
        model = nested_model(info.annotation) if info else None
    return model


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by their names in YAML."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def type_name(info: FieldInfo) -> str:
    """Name a field's type in common words: ``integer``, ``list of integer``, ``"a" | "b"``."""
    for meta in info.metadata:
        schema = getattr(meta, "json_schema", None)
        if schema and "pattern" in schema:
            return "quantity, like 2Gi"
    return _annotation_name(info.annotation)


def default_text(info: FieldInfo) -> str | None:
    """Return a field's default in YAML, or None if the field is required or the default is empty."""
    default = info.get_default(call_default_factory=True) if not info.is_required() else PydanticUndefined
    if default is PydanticUndefined or default is None or isinstance(default, BaseModel):
        return None
    if isinstance(default, list) and default and isinstance(default[0], BaseModel):
        return ", ".join(str(getattr(item, "name", item)) for item in default)
    if isinstance(default, float):
        return number_text(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return default.encode("unicode_escape").decode()
    return str(default)


def _annotation_name(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_annotation_name(a) for a in args if a is not type(None))
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if origin is list:
        return f"list of {_annotation_name(args[0])}"
    if origin is dict:
        return f"mapping of {_annotation_name(args[1])}"
    if origin is typing.Annotated:
        for meta in args[1:]:
            schema = getattr(meta, "json_schema", None)
            if schema and "pattern" in schema:
                return "quantity, like 2Gi"
        return _annotation_name(args[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__
    names = {str: "text", int: "integer", bool: "true or false", float: "number"}
    return names.get(annotation, str(annotation))


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model type inside an annotation, or None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for arg in typing.get_args(annotation):
        found = nested_model(arg)
        if found:
            return found
    return None


def _render(parts: list[str], info: FieldInfo | None, nested: type[BaseModel] | None) -> str:
    lines = [f"FIELD: {'.'.join(parts) or 'Experiment'}"]
    if info is not None:
        lines[0] += f"  <{type_name(info)}>"
        if _default_line(info):
            lines.append(_default_line(info))
        if info.description:
            lines += ["", _unwrap(info.description)]
    if nested is not None:
        if nested.__doc__:
            lines += ["", _unwrap(nested.__doc__)]
        lines += ["", "FIELDS:"]
        for name, field in fields_of(nested).items():
            lines.append(f"  {name}  <{type_name(field)}>  {_default_line(field)}")
            if field.description:
                lines.append(f"      {_unwrap(field.description)}")
    return "\n".join(line.rstrip() for line in lines)


def _default_line(info: FieldInfo) -> str:
    if info.is_required():
        return "needed"
    text = default_text(info)
    return f"default {text}" if text is not None else ""


def _unwrap(text: str) -> str:
    return " ".join(text.split())
