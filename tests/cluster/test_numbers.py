"""A number that kubectl applies, the API server stores and the operator reads is the number in the local file: no stage
key depends on the way."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.places import KUBECTL
from misstep.plan.frozen import External
from misstep.plan.planner import plan
from misstep.spec import Experiment, parse_experiment
from misstep.spec.edit import changed
from misstep.spec.yaml12 import load_all
from misstep_operator.crd.definition import definition, experiment_schema
from misstep_operator.planning.planning import parse
from tests.cluster.operating import await_crd
from tests.operator.crd_cases import GOOD, experiment
from tests.spec.yaml_cases import ALIKE, UNLIKE

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
CRD = Path(__file__).parents[2] / "charts/misstep/files/crd.yaml"
WRITTEN = (
    *("0.7", "5e-7", "1e-05", "0.1", "1.0", "2", "1e21", "0.30000000000000004", "100000.0", ".5", "5.", "00.7"),
    *("7.0e-01", "1E-3", "1e22", "123456789.123456789", "9007199254740993", "1e6", "999999999999999999999", "1e-6"),
    *("5e-324", "1.7976931348623157e308"),
)
MARK = "@number@"
EXTERNALS = {
    role: External(uri="/x", digest=f"sha256:{role}")
    for role in ("model", "model_teacher", "source_train", "source_test", "source_validation")
}


@pytest.fixture(scope="module")
def run(control_plane: Path) -> Iterator[Kubectl]:
    """Run kubectl against a control plane that has the definition."""

    def call(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), "--kubeconfig", str(control_plane), *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    succeed(call("apply", "-f", str(CRD)))
    await_crd(control_plane)
    yield call
    succeed(call("delete", "exp", "--all"))


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def number_fields(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the place and the schema of every number; ``[]`` stands for the items of a list."""
    if schema.get("type") == "number":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from number_fields(inner, (*path, name))
    if "items" in schema:
        yield from number_fields(schema["items"], (*path, "[]"))


FIELDS = [field for field in number_fields(experiment_schema()) if field[0][:1] == ("spec",)]


def in_bounds(schema: Mapping[str, Any], number: float) -> bool:
    least, most = schema["minimum"], schema.get("maximum", math.inf)
    above = number > least if schema.get("exclusiveMinimum") else number >= least
    return above and (number < most if schema.get("exclusiveMaximum") else number <= most)


def with_number(name: str, number: float, written: Any) -> dict[str, Any]:
    """Return an Experiment with one number in every field that may hold it, written in one way."""
    document = experiment(GOOD[0], name)
    for path, schema in FIELDS:
        if not in_bounds(schema, number):
            continue
        holder = document
        steps = list(path)
        if steps[:3] == ["spec", "arms", "[]"]:  # sft, rft and dpo stand in this order
            holder = document["spec"]["arms"][("sft", "rft", "dpo").index(steps[3])]
            del steps[:3]
        value: Any = written
        if steps[-1] == "[]":
            steps.pop()
            value = [written]
        for step in steps[:-1]:
            holder = holder.setdefault(step, {})
        holder[steps[-1]] = value
    return document


def whole_text(name: str, number: str) -> str:
    """Write such an Experiment as a person does."""
    return str(yaml.safe_dump(with_number(name, float(number), MARK))).replace(f"'{MARK}'", number)


def keys(made: Experiment) -> list[str]:
    return [stage.key for stage in plan(made, EXTERNALS).stages]


def test_there_are_numbers_everywhere() -> None:
    found = {".".join(path) for path, _ in FIELDS}
    assert {"spec.arms.[].dpo.beta", "spec.search.dpo.beta.[]", "spec.teacher.endpoint.budget.maxCost"} <= found
    assert len(found) > 30


def test_every_number_comes_back_as_it_was_written(run: Kubectl) -> None:
    texts = {f"number-{i}": whole_text(f"number-{i}", number) for i, number in enumerate(WRITTEN)}
    local = {name: parse_experiment(text) for name, text in texts.items()}
    assert len({tuple(keys(each)) for each in local.values()}) == len({float(text) for text in WRITTEN})
    together = "\n---\n".join(texts.values())
    for options in ([], [], ["--server-side", "--force-conflicts"]):
        said = succeed(run("apply", *options, "-f", "-", stdin=together))
        assert said.count("experiment.misstep.dev/number-") == len(WRITTEN)
        found = json.loads(succeed(run("get", "exp", "-o", "json")))["items"]
        stored = {body["metadata"]["name"]: parse(body) for body in found}
        for name, mine in local.items():
            assert stored[name].spec.model_dump() == mine.spec.model_dump(), WRITTEN[int(name.rpartition("-")[2])]
            assert keys(stored[name]) == keys(mine)
    assert {body["metadata"]["generation"] for body in found} == {1}, "the same file again is no edit"
    (shown,) = load_all(succeed(run("get", "exp", "-o", "yaml")))  # as Go writes numbers
    assert {body["metadata"]["name"]: keys(parse(body)) for body in shown["items"]} == {
        name: keys(mine) for name, mine in local.items()
    }


def test_kubectl_reads_as_the_loader_does(run: Kubectl) -> None:
    def read(texts: list[str]) -> list[Any]:
        document = experiment(GOOD[0], "read")
        arguments = {f"a{i}": f"@{i}@" for i in range(len(texts))}
        document["spec"]["policy"]["prompt"]["templateArguments"] = arguments
        text = str(yaml.safe_dump(document))
        for i, each in enumerate(texts):
            text = text.replace(f"'@{i}@'", each)
        options = ["--dry-run=client", "--validate=false", "-o", "json", "-f-"]
        made = json.loads(succeed(run("create", *options, stdin=text)))
        found = made["spec"]["policy"]["prompt"]["templateArguments"]
        return [found[name] for name in arguments]

    alike = {text: (value, type(value)) for text, value in zip(ALIKE, read(list(ALIKE)), strict=True)}
    differing = {text: alike[text] for text, value in ALIKE.items() if alike[text][0] != value}
    assert differing == {}
    words = [type(value) for value in read(list(UNLIKE))]
    assert set(words) == {bool, int, float}, "to YAML 1.2 most of them are text"


def in_quotes(schema: Any) -> Any:
    """Return a definition whose numbers are text, as in 0.1: without rules, which compared them."""
    if isinstance(schema, list):
        return [in_quotes(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "number":
        return {"type": "string"} | ({"default": str(schema["default"])} if "default" in schema else {})
    return {name: in_quotes(each) for name, each in schema.items() if name != "x-kubernetes-validations"}


def test_what_was_stored_with_quotes_is_still_planned_and_new_quotes_are_refused(
    run: Kubectl, control_plane: Path
) -> None:
    new, old = (with_number("quoted", 1, written) for written in (1.0, "1"))
    forced = ["apply", "--server-side", "--force-conflicts", "-f"]
    try:
        succeed(run(*forced, "-", stdin=json.dumps(in_quotes(definition()))))
        await_crd(control_plane)
        succeed(run("create", "-f", "-", stdin=json.dumps(old)))
    finally:
        succeed(run(*forced, str(CRD)))
    await_crd(control_plane)
    body = json.loads(succeed(run("get", "exp", "quoted", "-o", "json")))
    assert body["spec"]["training"]["dpo"]["beta"] == "1"
    assert keys(parse(body)) == keys(parse_experiment(json.dumps(new)))
    status = json.dumps({"status": {"state": "Running"}})
    succeed(run("patch", "exp", "quoted", "--subresource=status", "--type=merge", "-p", status))
    refused = run("create", "-f", "-", stdin=json.dumps(changed(old, [(("metadata", "name"), "again")])))
    assert 'spec.training.dpo.beta in body must be of type number: "string"' in refused.stderr
    succeed(run("apply", "-f", "-", stdin=json.dumps(new)))  # the server's own merge takes no text for a number
    body = json.loads(succeed(run("get", "exp", "quoted", "-o", "json")))
    assert body["spec"]["training"]["dpo"]["beta"] == 1
