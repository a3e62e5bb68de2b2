"""The CustomResourceDefinition is what the API server takes, means what the types mean, and refuses what they refuse.

Rules run here in a CEL of Python's own; ``tests/cluster/test_crd.py`` gives the same objects to a real API server.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.planner import plan
from misstep.spec import parse_experiment
from misstep.spec.load import read_document
from misstep.spec.yaml12 import load_all
from misstep_operator.crd.definition import crd_yaml, definition, experiment_schema
from tests.operator.cel_check import judged, rules, with_defaults
from tests.operator.crd_cases import BAD, GOOD, WRONG, Case, experiment

SCHEMA = experiment_schema()
EXAMPLES = sorted(Path("examples").glob("*.yaml"))
_OUTSIDE = ("model", "model_teacher", "source_train", "source_test", "source_validation")
_SEEN: dict[tuple[str, str], set[bool]] = {}
"""Rules and what they have come to in this module's tests."""


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from parts(field, f"{path}.{name}")
    for inside in ("items", "additionalProperties"):
        if inside in schema:
            yield from parts(schema[inside], f"{path}[]")


@functools.cache
def broken_rules(name: str) -> list[str]:
    """Messages of the rules that the case of that name breaks."""
    document = experiment(next(case for case in GOOD + BAD if case.name == name))
    found = list(judged(SCHEMA, with_defaults(SCHEMA, document)))
    for rule, message, holds in found:
        _SEEN.setdefault((rule, message), set()).add(holds)
    return [message for _, message, holds in found if not holds]


def conforms(document: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft4Validator(SCHEMA).is_valid(document))


def ids(case: Case) -> str:
    return case.name


def test_what_people_see(snapshot: SnapshotAssertion) -> None:
    spec = definition()["spec"]
    fields = SCHEMA["properties"]["spec"]["properties"]
    shown = [
        definition()["metadata"],
        spec["names"],
        spec["versions"][0]["additionalPrinterColumns"],
        fields["credit"],
        fields["sampling"]["properties"]["topP"],
        fields["cluster"]["properties"]["sft"]["properties"]["tolerations"],
        SCHEMA["properties"]["status"]["properties"]["conditions"]["x-kubernetes-list-map-keys"],
    ]
    assert yaml.safe_dump_all(shown, sort_keys=False, width=120) == snapshot


def test_the_schema_is_structural() -> None:
    allowed = {"type", "description", "properties", "required", "items", "additionalProperties", "enum", "pattern"}
    allowed |= {"format", "default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
    allowed |= {"exclusiveMinimum", "exclusiveMaximum"}
    allowed |= {
        "maxProperties",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    }
    any_value = []
    for path, schema in parts(SCHEMA):
        if "x-kubernetes-preserve-unknown-fields" in schema:
            any_value.append(path)
            assert schema == {"x-kubernetes-preserve-unknown-fields": True}
            continue
        assert schema.keys() <= allowed, path
        assert schema["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert ("items" in schema) == (schema["type"] == "array"), path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert "\n" not in schema.get("description", ""), path
        if "default" in schema:
            jsonschema.Draft4Validator(schema).validate(schema["default"])
    # Truth values, numbers and texts: the server knows no value of one of several types. Planning checks them.
    assert any_value == [".spec.policy.prompt.templateArguments[]"]
    assert load_all(crd_yaml()) == [definition()]
    assert len(json.dumps(definition())) < 200_000, "kubectl apply keeps a copy in an annotation of 256 KiB at most"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_conform_and_the_servers_defaults_change_no_key(path: Path) -> None:
    document = read_document(path)
    jsonschema.Draft4Validator(SCHEMA).validate(document)
    externals = {role: External(uri="/x", digest=f"sha256:{role}") for role in _OUTSIDE}
    before, after = (
        plan(parse_experiment(json.dumps(each)), externals) for each in (document, with_defaults(SCHEMA, document))
    )
    assert after == before


@pytest.mark.parametrize("case", GOOD, ids=ids)
def test_good_ones_are_taken(case: Case) -> None:
    document = experiment(case)
    jsonschema.Draft4Validator(SCHEMA).validate(document)
    assert broken_rules(case.name) == []
    parse_experiment(json.dumps(document))


@pytest.mark.parametrize("case", BAD, ids=ids)
def test_bad_ones_are_refused_with_the_fix(case: Case) -> None:
    document = experiment(case)
    assert conforms(document), "refused by the rule that is meant, not by a field's own type"
    assert any(case.said in message for message in broken_rules(case.name))
    if case.only_cluster:
        parse_experiment(json.dumps(document))
    else:
        with pytest.raises(BadInput) as caught:
            parse_experiment(json.dumps(document))
        assert (case.locally or case.said) in str(caught.value)


@pytest.mark.parametrize("case", WRONG, ids=ids)
def test_wrong_fields_are_refused(case: Case) -> None:
    document = experiment(case)
    assert not conforms(document)
    if case.only_cluster:
        parse_experiment(json.dumps(document))
    else:
        with pytest.raises(BadInput):
            parse_experiment(json.dumps(document))


def test_each_rule_has_held_and_has_been_broken() -> None:
    for case in GOOD + BAD:
        broken_rules(case.name)
    missing = [message for rule, message in rules(SCHEMA) if _SEEN.get((rule, message)) != {True, False}]
    assert missing == []
