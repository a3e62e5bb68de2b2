"""Generate values.schema.json and the README's table from the chart's values.yaml.

The comment lines above a key are its description. A line ``# @schema {...}`` among them is JSON that is added to the
schema derived from the default value: needed for empty lists and maps, useful for enums, patterns and bounds. Nothing
that has fields takes an unknown one, so that a typo fails the install with the key's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from misstep.spec.explain import fields_of
from misstep_operator.crd.definition import experiment_schema
from misstep_operator.policy.rules import Rule, TeacherRule

CHART = Path(__file__).parents[1] / "charts/misstep"
MARK = "@schema "
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"}
NAME = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
DIGEST = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}


def strict(properties: Mapping[str, object], *required: str) -> dict[str, object]:
    """An object with exactly these fields."""
    found: dict[str, object] = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | ({"required": list(required)} if required else {})


def pod_settings() -> dict[str, Any]:
    """The fields of an Experiment's ``spec.cluster.defaults``. The operator checks the rules between them."""
    spec = experiment_schema()["properties"]["spec"]
    return _closed(spec["properties"]["cluster"]["properties"]["defaults"])


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a schema of the API server to plain JSON Schema, which allows unknown fields by default."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "format"}
    if "properties" in found:
        fields = {name: _closed(field) for name, field in found["properties"].items()}
        found |= {"properties": fields, "additionalProperties": False}
    elif "additionalProperties" in found:
        found["additionalProperties"] = _closed(found["additionalProperties"])
    if "items" in found:
        found["items"] = _closed(found["items"])
    return found


def policy_rule() -> dict[str, Any]:
    """The fields of an item of ``policy.rules``, from the operator's type."""
    whole = Rule.model_json_schema(by_alias=True)
    return _plain(whole, whole["$defs"])


def _plain(schema: Any, defs: Mapping[str, Any]) -> Any:
    """Convert pydantic's schema: without references, defaults and titles, and with descriptions on one line."""
    if isinstance(schema, list):
        return [_plain(one, defs) for one in schema]
    if not isinstance(schema, dict):
        return " ".join(schema.split()) if isinstance(schema, str) else schema
    if "$ref" in schema:
        return _plain(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "properties" in schema:
        fields = {name: _plain(field, defs) for name, field in schema["properties"].items()}
        rest = {key: value for key, value in schema.items() if key not in ("properties", "$defs", "title")}
        return _plain(rest, defs) | {"properties": fields}
    return {key: _plain(value, defs) for key, value in schema.items() if key not in ("title", "default")}


DEFS: dict[str, Any] = {
    "affinity": strict({f"{name}Affinity": {"type": "object"} for name in ("node", "pod")} | {
        "podAntiAffinity": {"type": "object"},
    }),
    "digest": DIGEST,
    "duration": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
    "env": strict({"name": {"type": "string"}, "value": {"type": "string"}, "valueFrom": {"type": "object"}}, "name"),
    "image": strict(
        {"repository": {"type": "string", "minLength": 1}, "tag": {"type": "string"}, "digest": DIGEST},
        "repository", "tag", "digest",
    ),
    "name": NAME,
    "peer": strict({name: {"type": "object"} for name in ("ipBlock", "namespaceSelector", "podSelector")}),
    "podSettings": pod_settings(),
    "policyRule": policy_rule(),
    "quantity": QUANTITY,
    "resources": strict({
        "requests": {"type": "object", "additionalProperties": QUANTITY},
        "limits": {"type": "object", "additionalProperties": QUANTITY},
        "claims": {"type": "array", "items": {"type": "object"}},
    }),
    "store": strict({
        "uri": {"type": "string", "pattern": "^s3://[A-Za-z0-9].*$"},
        "endpoint": {"type": "string", "pattern": "^(https?://.+)?$"},
        "region": {"type": "string"},
        "caBundle": {"type": "string"},
        "pathStyle": {"type": "boolean"},
        "namespaces": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "string", "pattern": "^([*]|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"},
        },
        "shareWork": {"type": "boolean"},
    }, "uri", "namespaces"),
    "strings": STRINGS,
    "toleration": strict({
        "key": {"type": "string"},
        "operator": {"enum": ["Equal", "Exists", "Lt", "Gt"]},
        "value": {"type": "string"},
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "tolerationSeconds": {"type": "integer"},
    }),
}  # fmt: skip
"""Types that several values share. The API server checks the deeper levels."""


@dataclass(frozen=True)
class Value:
    """One key of values.yaml."""

    path: tuple[str, ...]
    default: Any
    about: str
    """Its comment, on one line."""
    more: Mapping[str, Any]
    """The contents of its ``@schema`` line."""
    fields: tuple[Value, ...]
    """Its children, if the chart defines their keys and not the user."""


def read_values(text: str) -> tuple[Value, ...]:
    """Read values.yaml with its comments. Raises ValueError if a key has none."""
    mapping = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(mapping, yaml.MappingNode)
    return tuple(_values(mapping, text.splitlines(), ()))


def _values(mapping: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, node in mapping.value:
        comments: list[str] = []
        line = key.start_mark.line - 1
        while line >= 0 and lines[line].strip().startswith("#"):
            comments.insert(0, lines[line].strip().removeprefix("#").strip())
            line -= 1
        path = (*above, key.value)
        about = " ".join(text for text in comments if not text.startswith(MARK))
        if not about:
            raise ValueError(f"values.yaml: {'.'.join(path)} has no comment")
        more = {k: v for c in comments if c.startswith(MARK) for k, v in json.loads(c.removeprefix(MARK)).items()}
        inner = isinstance(node, yaml.MappingNode) and node.value and not {"$ref", "additionalProperties"} & set(more)
        default = yaml.SafeLoader("").construct_document(node)
        yield Value(path, default, about, more, tuple(_values(node, lines, path)) if inner else ())


def schema(values: tuple[Value, ...]) -> dict[str, Any]:
    """The JSON schema of all values. All are required, so that a value of null fails with its name: Helm removes a
    value that is null, and a template would fail later without naming it."""
    needed = [value.path[-1] for value in values]
    properties = {value.path[-1]: _schema(value) for value in values}
    # Helm hands `global` to every chart that is a part of another one, whose `condition` may be `misstep.enabled`.
    properties["global"] = {"type": "object", "description": "Values of a chart that this one is a part of; unused."}
    properties["enabled"] = {
        "type": "boolean",
        "description": "For the `condition` of a chart that this one is a part of.",
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Values of the chart misstep"}
    return head | strict(properties, *needed) | {"$defs": DEFS | {"alert": {"enum": alerts()}}}


def alerts() -> list[str]:
    """Names of the alerts that the chart installs."""
    groups = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def _schema(value: Value) -> dict[str, Any]:
    about: dict[str, Any] = {"description": value.about}
    if value.fields:
        names = [field.path[-1] for field in value.fields]
        return about | strict(dict(zip(names, map(_schema, value.fields), strict=True)), *names)
    if "$ref" in value.more:
        return about | dict(value.more)
    types = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    found = {"type": types[type(value.default)], **value.more}
    if (found["type"] == "array" and "items" not in found) or found["type"] == "object":
        raise ValueError(f"values.yaml: {'.'.join(value.path)} needs a @schema line that says what it holds")
    return about | found


def schema_text() -> str:
    """Content of values.schema.json."""
    return json.dumps(schema(read_values((CHART / "values.yaml").read_text())), indent=2) + "\n"


def table() -> str:
    """The README's table of values."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{'.'.join(value.path)}` | {f'`{_shown(value.default)}`'} | {value.about.replace('|', chr(92) + '|')} |"
        for value in _leaves(read_values((CHART / "values.yaml").read_text()))
    ]
    return "\n".join(lines)


def policy_table() -> str:
    """The README's table of the fields of an item of ``policy.rules``."""
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for model, path in ((Rule, ""), (TeacherRule, "teachers[].")):
        for name, info in fields_of(model).items():
            default = "needed" if info.is_required() else f"`{_shown(info.default)}`"
            lines.append(f"| `{path}{name}` | {default} | {' '.join((info.description or '').split())} |")
    return "\n".join(lines)


def _leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.fields:
            yield from _leaves(value.fields)
        else:
            yield value


def _shown(default: object) -> str:
    return json.dumps(default)
