"""The JSON Schema of an Experiment, generated from the types: editors check and complete YAML by it.

The schema of the CustomResourceDefinition says the same in the form that an API server takes; a test compares the two.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from misstep.spec.experiment import API_VERSION, KIND, Experiment
from misstep.spec.explain import fields_of, nested_model
from misstep.spec.fields import plain_number

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = f"urn:{API_VERSION.replace('.dev/', ':')}:{KIND.lower()}"
FILE = "experiment.schema.json"
"""The name under which the schema is committed, and written beside new Experiments."""
COMMENT = "# yaml-language-server: $schema="
"""The comment in YAML that tells an editor where the schema is."""
_COMMENT = re.compile(rf"^{re.escape(COMMENT)}(\S+)[ \t]*$", re.MULTILINE)


def schema_text() -> str:
    """Return the schema as a JSON file has it."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the schema of an Experiment as it stands in YAML, in the 2020-12 dialect."""
    schema = Experiment.model_json_schema(by_alias=True, schema_generator=_Generator)
    described = {**schema["$defs"], Experiment.__name__: schema}
    for model in models_in(Experiment):
        _complete(described[model.__name__], model)
    return {"$schema": DIALECT, "$id": ID, **schema}


def models_in(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a type and all types inside it, each once."""
    queue, seen = [root], {root}
    while queue:
        model = queue.pop()
        yield model
        nested = {found for info in model.model_fields.values() if (found := nested_model(info.annotation))}
        queue += nested - seen
        seen |= nested


def number_bounds(info: FieldInfo) -> dict[str, int | float]:
    """Return a field's own bounds as keywords: the schema of a `Number`, which pydantic takes as it is, has only the
    least one."""
    found: dict[str, int | float] = {}
    for meta in info.metadata:
        match meta:
            case limits.Gt(gt=bound):
                found["exclusiveMinimum"] = plain_number(bound)  # type: ignore[arg-type]
            case limits.Ge(ge=bound):
                found["minimum"] = plain_number(bound)  # type: ignore[arg-type]
            case limits.Lt(lt=bound):
                found["exclusiveMaximum"] = plain_number(bound)  # type: ignore[arg-type]
            case limits.Le(le=bound):
                found["maximum"] = plain_number(bound)  # type: ignore[arg-type]
    return found


def with_comment(text: str, place: str) -> str:
    """Return YAML whose comment names a schema elsewhere: a path from the YAML's folder."""
    return _COMMENT.sub(lambda _: COMMENT + place, text)


def comment_moved(text: str, here: Path, there: Path) -> str:
    """Return YAML that moves from one folder to another, with the path in its comment changed to fit."""

    def moved(found: re.Match[str]) -> str:
        place = found[1]
        if "://" not in place and not Path(place).is_absolute():
            place = Path(os.path.relpath(here / place, there)).as_posix()
        return COMMENT + place

    return _COMMENT.sub(moved, text)


class _Generator(GenerateJsonSchema):
    """Leaves out the titles of fields: they repeat the name in other letters, and editors show them first."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _complete(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Add what pydantic does not know, and leave out what does not help in an editor."""
    if "description" in schema:
        schema["description"] = _one_line(schema["description"])
    for name, info in fields_of(model).items():
        field = schema["properties"][name]
        if "description" in field:
            field["description"] = _one_line(field["description"])
        for choice in (field, *field.get("anyOf", ())):
            if choice.get("type") == "number":
                choice.update(number_bounds(info))
                if "exclusiveMinimum" in choice:
                    choice.pop("minimum", None)
        default = field.get("default")
        if default in (None, [], {}) or nested_model(info.annotation):
            field.pop("default", None)
        elif isinstance(default, float):
            field["default"] = plain_number(default)


def _one_line(text: str) -> str:
    return " ".join(text.split())
