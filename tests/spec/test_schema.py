"""The JSON Schema takes and refuses what the types and the cluster's own schema take and refuse, as far as one field
can tell; rules between fields are theirs alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from misstep.cli.app import main
from misstep.spec.experiment import API_VERSION, KIND
from misstep.spec.load import parse_experiment, read_document
from misstep.spec.schema import COMMENT, DIALECT, FILE, comment_moved, json_schema, schema_text, with_comment
from misstep_operator.crd.definition import experiment_schema
from tests.operator.crd_cases import BAD, GOOD, VALID, WRONG, Case, experiment

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SCHEMA, CLUSTER = json_schema(), experiment_schema()
ONLY_CLUSTER = ".metadata", ".status", ".apiVersion", ".kind"
"""Fields of every object of Kubernetes, which the API server checks itself."""
NAMES_ARE_A_RULE = "a label of no name"
"""The cluster's schema has no keyword for the names in a mapping; there it is a rule."""


def valid(document: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(document))


def in_the_cluster(document: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft4Validator(CLUSTER).is_valid(document))


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each place of an Experiment, and what is asked of a value there, in the same words for both schemas."""
    if path in ONLY_CLUSTER:
        return
    schema = resolved(schema)
    if "anyOf" in schema or "x-kubernetes-preserve-unknown-fields" in schema:
        yield path, {"any": True}
        return
    asked: dict[str, Any] = {"type": schema["type"], "required": sorted(schema.get("required", []))}
    same = "pattern", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"
    asked |= {key: schema[key] for key in same if key in schema}
    if "enum" in schema or "const" in schema:
        asked["enum"] = sorted(schema.get("enum", [schema.get("const")]), key=str)
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        exclusive = schema.get(flag)
        limit = schema.get(bound) if exclusive is None or exclusive is True else exclusive
        if limit is not None:
            asked[bound] = limit, exclusive is not None
    yield path, asked
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    for inside in ("items", "additionalProperties"):
        if isinstance(schema.get(inside), dict):
            yield from fields(schema[inside], f"{path}[]")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, and without null as the other choice: the API server takes null as absent."""
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        if len(choices) == 1:
            return resolved(choices[0])
    if "$ref" in schema:
        found: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def named(case: Case) -> str:
    return case.name


def test_it_is_a_schema_and_the_committed_file_is_current() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == DIALECT
    assert SCHEMA["$id"].startswith("urn:")
    assert (ROOT / "docs" / FILE).read_text() == schema_text()
    assert json.loads(schema_text()) == SCHEMA


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()


def test_each_field_is_that_of_the_cluster() -> None:
    here, there = dict(fields(SCHEMA)), dict(fields(CLUSTER))
    assert here.keys() == there.keys()
    assert {path: (here[path], there[path]) for path in here if here[path] != there[path]} == {}


def test_unknown_fields_are_refused_everywhere() -> None:
    schemas = [SCHEMA, *SCHEMA["$defs"].values()]
    assert [one["title"] for one in schemas if one["type"] == "object" and one["additionalProperties"]] == []
    document = copy.deepcopy(VALID)
    document["spec"]["credit"]["rolouts"] = 5
    assert not valid(document)


def test_every_field_is_described() -> None:
    bare = []
    for name, one in {**SCHEMA["$defs"], "Experiment": SCHEMA}.items():
        for field, of in one.get("properties", {}).items():
            referred = "$ref" in of or any("$ref" in choice for choice in of.get("anyOf", ()))
            if not referred and "description" not in of and field not in ("apiVersion", "kind"):
                bare.append(f"{name}.{field}")
            assert "title" not in of, "a title repeats the name"
    assert bare == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid_and_names_the_schema(path: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(read_document(path))
    places = [line.removeprefix(COMMENT) for line in path.read_text().splitlines() if line.startswith(COMMENT)]
    assert [(path.parent / place).resolve() for place in places] == [ROOT / "docs" / FILE]


@pytest.mark.parametrize("case", GOOD, ids=named)
def test_good_ones_are_taken(case: Case) -> None:
    document = experiment(case)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert in_the_cluster(document)


@pytest.mark.parametrize("case", BAD, ids=named)
def test_what_only_a_rule_refuses_is_taken(case: Case) -> None:
    document = experiment(case)
    assert in_the_cluster(document)
    assert valid(document) == (case.name != NAMES_ARE_A_RULE)


@pytest.mark.parametrize("case", WRONG, ids=named)
def test_wrong_fields_are_refused(case: Case) -> None:
    document = experiment(case)
    assert not in_the_cluster(document)
    assert not valid(document)


@pytest.mark.parametrize("missing", ["apiVersion", "kind", "metadata", "spec"])
def test_what_an_experiment_is_has_to_be_said(missing: str) -> None:
    assert valid(VALID)
    assert not valid({name: value for name, value in VALID.items() if name != missing})
    assert not valid(VALID | {missing: "something else"})


def test_null_is_absent_as_for_the_types() -> None:
    document = copy.deepcopy(VALID)
    document["spec"]["sampling"] = {"samples": 4}
    document["spec"]["problems"]["validation"] = None
    assert valid(document)
    parse_experiment(json.dumps(document))
    assert (document["apiVersion"], document["kind"]) == (API_VERSION, KIND)


def test_the_comment_follows_a_file() -> None:
    text = f"#: frozen\n{COMMENT}../docs/{FILE}\napiVersion: {API_VERSION}  {COMMENT}x\n"
    assert comment_moved(text, Path("/a/examples"), Path("/a/b/c")).splitlines()[1] == f"{COMMENT}../../docs/{FILE}"
    assert comment_moved(text, Path("/a/examples"), Path("/a/b")) == text
    assert with_comment(text, FILE) == text.replace(f"../docs/{FILE}", FILE)
    for place in ("https://example.org/s.json", f"/usr/share/{FILE}"):
        elsewhere = with_comment(text, place)
        assert comment_moved(elsewhere, Path("/a"), Path("/b/c")) == elsewhere
