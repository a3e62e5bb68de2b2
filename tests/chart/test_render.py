"""The chart with four sets of values, as golden files; and properties that hold with any values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import lint
from helm_python.errors import HelmRenderError, HelmValuesError
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from misstep import __version__
from misstep.spec.cluster import PodSettings
from misstep.store.description import Storage
from misstep_operator.settings import read_settings, read_trust
from tests.chart.rendering import CHART, CHECK, objects, pod_specs, render
from tests.cluster.process_node import expand

SETS = {"default": {}} | {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "values").glob("*.yaml"))
}
each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())


class YamlFile(SingleFileSnapshotExtension):
    """A golden file that reads as what it holds."""

    _write_mode = WriteMode.TEXT
    file_extension = "yaml"


@each_set
def test_golden(values: dict[str, Any], snapshot: SnapshotAssertion) -> None:
    parts = []
    for name, text in sorted(render(values).items()):
        if name == "crd.yaml":  # it has a golden file of its own
            text = "\n".join(line for line in text.split("\nspec:")[0].splitlines())
        if name == "admission.yaml":  # what is generated is tested on an API server
            text = re.sub(
                r"(?s)    - expression: variables\.rules\.filter.*?\n---", "    (files/admission.yaml)\n---", text
            )
        if name == "NOTES.txt":
            text = "".join(f"# {line}\n" for line in text.splitlines())
        for file in CHART.glob("dashboards/*.json"):
            text = text.replace(indented(file.read_text(), 4), f"    (dashboards/{file.name})")
        text = text.replace(indented(CHECK, 10), "          (files/check.py)")
        parts.append(f"# {name}\n{text.strip()}\n")
    assert "\n".join(re.sub(r"\s+\n", "\n", part) for part in parts) == snapshot(extension_class=YamlFile)


def indented(text: str, by: int) -> str:
    """As the template function ``nindent`` does it: blank lines too."""
    return "\n".join(" " * by + line for line in text.strip().splitlines())


@each_set
def test_lint_has_nothing_to_say(values: dict[str, Any]) -> None:
    report = lint(CHART, values, strict=True)
    assert not [found for found in report["messages"] if found["severity"] > 1], report
    assert not report["errors"]


@each_set
def test_pods_satisfy_the_restricted_standard_and_get_a_token_only_where_they_need_one(values: dict[str, Any]) -> None:
    for name, pod in pod_specs(values).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] == ("operator" in name), name
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "memory" in container["resources"]["requests"], name


@each_set
def test_nothing_is_named_twice_and_all_is_labelled(values: dict[str, Any]) -> None:
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects(values)]
    assert len(names) == len(set(names))
    for found in objects(values):
        if found["metadata"]["name"] != "misstep-extra":  # the user's own
            assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "misstep", found["metadata"]
            assert values.get("commonLabels", {}).items() <= found["metadata"]["labels"].items()


def test_namespaced_scope_asks_for_nothing_in_the_cluster() -> None:
    kinds = {found["kind"] for found in objects(SETS["namespaced"])}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    roles = [found for found in objects(SETS["namespaced"]) if found["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["system", "team-a", "team-b"]
    assert [rule["resources"] for rule in roles[0]["rules"]] == [["leases"], ["leases"]]


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_replicas_are_replaced_and_drained_so_that_one_stays(replicas: int) -> None:
    found = objects({"operator": {"replicas": replicas}})
    (deployment,) = [each for each in found if each["kind"] == "Deployment"]
    budgets = [each["spec"] for each in found if each["kind"] == "PodDisruptionBudget"]
    several, pod = replicas > 1, deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == replicas
    assert deployment["spec"]["strategy"]["type"] == ("RollingUpdate" if several else "Recreate")
    assert [budget["maxUnavailable"] for budget in budgets] == [1] * several
    assert all(budget["selector"] == deployment["spec"]["selector"] for budget in budgets)
    assert ("affinity" in pod) == several
    lease = {"name": "MISSTEP_LEASE", "value": "system/misstep-operator"}
    assert lease in pod["containers"][0]["env"], "one too: a pod that hangs on a lost node does no harm to the next"


def test_an_affinity_of_ones_own_replaces_that_of_several_replicas() -> None:
    own: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    (deployment,) = [
        each for each in objects({"operator": {"replicas": 2, "affinity": own}}) if each["kind"] == "Deployment"
    ]
    assert deployment["spec"]["template"]["spec"]["affinity"] == own


@pytest.mark.parametrize("replicas", [0, 6, "two"])
def test_a_number_of_replicas_that_makes_no_sense_is_refused(replicas: object) -> None:
    with pytest.raises(HelmValuesError, match="/operator/replicas"):
        render({"operator": {"replicas": replicas}})


def test_both_monitors_are_refused_in_words() -> None:
    both = {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}
    with pytest.raises(HelmRenderError, match="choose one"):
        render(both)
    assert [o["kind"] for o in objects({"metrics": {"podMonitor": {"enabled": True}}})].count("PodMonitor") == 1


def test_a_monitor_of_stages_needs_stages_that_answer() -> None:
    stages = {"podMonitor": {"enabled": True}}
    watched = {"metrics": {"stages": stages}, "watchNamespaces": ["b", "a"]}
    (monitor,) = [o for o in objects(watched) if o["kind"] == "PodMonitor"]
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}
    with pytest.raises(HelmRenderError, match="nothing to scrape"):
        render({"metrics": {"stages": stages | {"enabled": False}}})


def test_an_account_that_nobody_makes_must_be_named() -> None:
    with pytest.raises(HelmRenderError, match=r"operator\.serviceAccount\.name"):
        render({"operator": {"serviceAccount": {"create": False}}})


def test_the_operator_reads_what_all_stages_get() -> None:
    given = {
        "env": [{"name": "GREETING", "value": '$(HOME) <\\"é$$'}],
        "deadlineSeconds": 1_000_000,
        "imagePullSecrets": ["registry"],
    }
    environment = operator_environment({"stages": {"defaults": given}})
    environment["MISSTEP_STAGE_DEFAULTS"] = expand(environment["MISSTEP_STAGE_DEFAULTS"], {"HOME": "/"})
    assert read_settings(environment).stage_defaults == PodSettings.model_validate(given)
    assert "MISSTEP_STAGE_DEFAULTS" not in operator_environment({})


def operator_environment(values: dict[str, Any]) -> dict[str, str]:
    container = pod_specs(values)["system/misstep-operator"]["containers"][0]
    return {each["name"]: each["value"] for each in container["env"]}


def test_the_definition_stays_at_uninstall_by_default() -> None:
    annotations = yaml.safe_load(render()["crd.yaml"])["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"
    let_go = yaml.safe_load(render({"crds": {"keep": False}})["crd.yaml"])["metadata"]
    assert "helm.sh/resource-policy" not in let_go.get("annotations", {})
    assert not render({"crds": {"enabled": False}})["crd.yaml"].strip()


def test_the_definition_is_that_of_the_file() -> None:
    rendered, written = yaml.safe_load(render()["crd.yaml"]), yaml.safe_load((CHART / "files/crd.yaml").read_text())
    assert rendered["spec"] == written["spec"]


def test_development_keys_are_random_and_the_same_for_all_who_need_them() -> None:
    values = {"devS3": {"enabled": True}, "watchNamespaces": ["team"]}
    here, there = (found for found in objects(values) if found["kind"] == "Secret")
    assert here["stringData"] == there["stringData"]
    assert [here["metadata"]["namespace"], there["metadata"]["namespace"]] == ["system", "team"]
    again = next(found for found in objects(values) if found["kind"] == "Secret")
    assert again["stringData"]["AWS_SECRET_ACCESS_KEY"] != here["stringData"]["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({"watchNamespaces": ["team"], "devS3": {"enabled": True, "namespaces": ["more"]}}, ["more", "system", "team"]),
        ({"devS3": {"enabled": True, "existingSecret": "keys"}}, ["*"]),
        ({"devS3": {"enabled": True}, "operator": {"envSecret": "other"}}, None),
        ({}, None),
    ],
)
def test_the_development_server_stays_readable_where_other_stores_are_listed(
    values: dict[str, Any], namespaces: list[str] | None
) -> None:
    ours = {"uri": "s3://ours", "namespaces": ["team"]}
    listed = stores_of(values | {"stores": [ours]})
    assert listed[0] == ours
    assert [each["namespaces"] for each in listed[1:]] == ([] if namespaces is None else [namespaces])
    if namespaces:
        wanted = Storage(uri="s3://misstep/experiments", path_style=True)  # as the release's notes say
        own = "http://misstep-dev-s3.system.svc:7070"
        trust = read_trust({"MISSTEP_STORES": json.dumps(listed), "AWS_ENDPOINT_URL": own})
        found = trust.reach("team", wanted)
        assert isinstance(found, Storage)
        assert (found.endpoint, found.path_style) == (own, True)
    assert stores_of(values) == [], "without a list it is the operator's own endpoint"


def stores_of(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The stores in the operator's configuration."""
    (container,) = pod_specs(values)["system/misstep-operator"]["containers"]
    (text,) = [each["value"] for each in container["env"] if each["name"] == "MISSTEP_STORES"] or ["[]"]
    found: list[dict[str, Any]] = json.loads(text)
    return found


@each_set
def test_the_notes_say_whom_the_operator_trusts(values: dict[str, Any]) -> None:
    text = render(values)["NOTES.txt"]
    assert ("THEN ALL NAMESPACES TRUST EACH OTHER" in text) != bool(values.get("stores"))


def test_development_keys_stay_where_the_volume_does() -> None:
    for stays in (True, False):
        found = objects({"devS3": {"enabled": True, "persistence": {"enabled": stays}}})
        kept = [each["kind"] for each in found if "helm.sh/resource-policy" in each["metadata"].get("annotations", {})]
        assert ("Secret" in kept, "PersistentVolumeClaim" in kept) == (stays, stays)


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_values_are_short() -> None:
    assert len((CHART / "values.yaml").read_text().splitlines()) < 400


def test_dashboards_are_whole() -> None:
    for file in CHART.glob("dashboards/*.json"):
        board = json.loads(file.read_text())
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])
