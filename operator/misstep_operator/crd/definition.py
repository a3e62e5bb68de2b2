"""The CustomResourceDefinition of an Experiment, generated from the types of the spec.

The API server needs a structural OpenAPI v3 schema: without references and alternatives.
Rules between fields are CEL, see ``rules.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from misstep.spec.arms import Arm
from misstep.spec.cluster import PodSettings
from misstep.spec.experiment import API_VERSION, KIND, Experiment, StorageSpec
from misstep.spec.explain import fields_of, nested_model
from misstep.spec.fields import plain_number
from misstep.spec.policy import Prompt, Sampling
from misstep.spec.resources import StageResources
from misstep.spec.rewrite import Dumper
from misstep.spec.schema import models_in, number_bounds
from misstep_operator.crd.cel import OR_EDITED, Rule
from misstep_operator.crd.rules import RULES
from misstep_operator.crd.status import COLUMNS, STATUS

GROUP, VERSION = API_VERSION.split("/")
PLURAL, SINGULAR = "experiments", "experiment"

_KEPT = (
    *("type", "enum", "pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "minProperties"),
    *("maxProperties", "minimum", "maximum"),
)
"""Keywords that are the same in OpenAPI and JSON Schema."""

_ABSENCE_COUNTS: dict[type[BaseModel], set[str] | None] = {
    Prompt: None,  # a written field replaces the preset's
    Sampling: {"stop"},  # as above
    StorageSpec: {"uri"},  # a folder of one machine
    Arm: None,  # each field of an arm, also of a method, replaces the common setting
    PodSettings: None,  # a setting for a kind replaces the setting for all
}
"""Fields without a default in the schema (None: all fields of a type, also nested ones). The API server writes defaults
into each object, and for these fields it matters whether they were written."""

_MANY = (PodSettings, StageResources)
"""Types that occur once for each kind of stage. They are described once, since the definition would be three times as
large otherwise."""


def definition() -> dict[str, Any]:
    """Return the whole CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": ["exp"],
                "categories": ["misstep"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": COLUMNS,
                    "schema": {"openAPIV3Schema": experiment_schema()},
                }
            ],
        },
    }


def crd_yaml() -> str:
    """Return the definition as YAML."""
    return yaml.dump(definition(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def experiment_schema() -> dict[str, Any]:
    """Return the structural schema of an Experiment with its status."""
    types = {model.__name__: model for model in models_in(Experiment)}
    whole = _Writer(Experiment.model_json_schema(), types).model(Experiment, defaults=True)
    properties = whole["properties"]
    name = properties["metadata"]["properties"]["name"]
    properties["metadata"] = {
        "type": "object",
        "properties": {"name": {key: name[key] for key in ("type", "pattern", "maxLength") if key in name}},
    }
    for field in ("apiVersion", "kind"):
        properties[field] = {"type": "string"}
    properties["status"] = STATUS
    return whole


class _Writer:
    """Converts pydantic's JSON schema to the form that the API server accepts."""

    def __init__(self, schema: Mapping[str, Any], types: Mapping[str, type[BaseModel]]) -> None:
        self._schemas, self._types = schema["$defs"] | {Experiment.__name__: schema}, types

    def model(self, model: type[BaseModel], defaults: bool, description: str | None = None) -> dict[str, Any]:
        """Return the schema of a model. The default of ``description`` is the model's docstring."""
        schema = self._schemas[model.__name__]
        without = _ABSENCE_COUNTS.get(model, set())
        defaults = defaults and without is not None
        properties: dict[str, Any] = {}
        first: dict[Any, str] = {}
        for name, info in fields_of(model).items():
            own = defaults and name not in (without or ())
            field = self._field(schema["properties"][name], info, own)
            if nested_model(info.annotation) in _MANY and first.setdefault(info.annotation, name) != name:
                field = _undescribed(field) | {
                    "description": f"For stages of kind {name}: the fields of `{first[info.annotation]}`."
                }
            properties[name] = field
        found: dict[str, Any] = {"type": "object"}
        text = _one_line(description or model.__doc__)
        if text:
            found["description"] = text
        if "required" in schema:
            found["required"] = schema["required"]
        found["properties"] = properties
        return _with_rules(found, RULES.get(model, ()))

    def _field(self, schema: Mapping[str, Any], info: FieldInfo, defaults: bool) -> dict[str, Any]:
        found = self._value(schema, defaults, info.description)
        if "description" not in found and info.description:
            found["description"] = _one_line(info.description)
        if found.get("type") == "number":
            found |= _limits(info)
        default = schema.get("default")
        if defaults and default not in (None, [], {}) and not nested_model(info.annotation):
            found["default"] = plain_number(default) if isinstance(default, float) else default
        # The description comes first, for readers.
        return {key: found[key] for key in ("description", *found) if key in found}

    def _value(self, schema: Mapping[str, Any], defaults: bool, description: str | None = None) -> dict[str, Any]:
        """Return the schema of a value: of a field, or of an item of a list or a mapping."""
        if "anyOf" in schema:  # a type or null: the API server treats null as absent
            schema, *others = (choice for choice in schema["anyOf"] if choice.get("type") != "null")
            if others:  # no union types: the API server accepts any value, and planning checks it
                return {"x-kubernetes-preserve-unknown-fields": True}
        if "$ref" in schema:
            return self.model(self._types[schema["$ref"].rpartition("/")[2]], defaults, description)
        found = {key: schema[key] for key in _KEPT if key in schema}
        if "const" in schema:
            found["enum"] = [schema["const"]]
        for bound, flag in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if bound in schema:
                found |= {flag: schema[bound], bound: True}
        if found["type"] == "integer":
            found["format"] = "int64"
        if found["type"] == "array":
            found["items"] = self._value(schema["items"], defaults)
        if found["type"] == "object":
            found["additionalProperties"] = self._value(schema["additionalProperties"], defaults)
            names = schema.get("propertyNames", {})
            if "maxLength" in names:
                longest = names["maxLength"]
                rule = Rule(
                    f"self.all(name, name != '' && name.size() <= {longest})", f"names have 1 to {longest} characters"
                )
                found = _with_rules(found, [rule])
        return found


def _with_rules(schema: dict[str, Any], rules: Any) -> dict[str, Any]:
    if not rules:
        return schema
    return schema | {"x-kubernetes-validations": [_written(rule) for rule in rules]}


def _written(rule: Rule) -> dict[str, Any]:
    if rule.only_new:
        return {"rule": f"({rule.cel}){OR_EDITED}", "message": rule.message, "optionalOldSelf": True}
    return {"rule": rule.cel, "message": rule.message}


def _limits(info: FieldInfo) -> dict[str, Any]:
    """Return a number's own bounds, as OpenAPI has them: whether a bound is exclusive is a keyword of its own."""
    found: dict[str, Any] = {}
    for keyword, bound in number_bounds(info).items():
        if keyword.startswith("exclusive"):
            found |= {keyword.removeprefix("exclusive").lower(): bound, keyword: True}
        else:
            found[keyword] = bound
    return found


def _undescribed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without descriptions, also in nested schemas."""
    found = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in found:
        found["properties"] = {name: _undescribed(field) for name, field in found["properties"].items()}
    for inside in ("items", "additionalProperties"):
        if inside in found:
            found[inside] = _undescribed(found[inside])
    return found


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
