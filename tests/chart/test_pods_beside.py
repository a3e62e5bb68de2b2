"""The pods that the chart runs next to the operator: those of `helm test`, and the development S3 server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.rendering import objects, pod_specs, render

URI: dict[str, Any] = {"storage": {"uri": "s3://bucket/prefix"}}
SECRET = {"envSecret": "store-writer"}
LEFT_OUT = "does not test the identity of stages"


def tried(values: dict[str, Any]) -> list[str]:
    """Namespaces in which `helm test` tries the store as stages do."""
    return [name.split("/")[0] for name in pod_specs(values) if name.endswith("-test-stages")]


def storages(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Identity -> the storage that is tried with it."""
    return {
        name.rsplit("-", 1)[1]: json.loads(pod["containers"][0]["args"][-1])
        for name, pod in pod_specs(values).items()
        if "-test-" in name
    }


@pytest.mark.parametrize(
    ("values", "namespaces"),
    [
        ({}, []),
        ({"test": URI}, ["system"]),
        ({"test": URI, "watchNamespaces": ["b", "a"]}, ["a", "b"]),
        ({"test": URI, "watchNamespaces": ["b", "a"], "stages": SECRET}, ["a", "b"]),
        ({"test": {"storage": URI["storage"] | {"namespaces": ["a"]}}, "watchNamespaces": ["a", "b", "c"]}, ["a"]),
        ({"test": {"storage": URI["storage"] | {"namespaces": ["research"]}}, "stages": SECRET}, ["research"]),
        ({"test": URI, "stages": {"serviceAccount": {"create": True, "name": "writer"}}}, ["system"]),
        ({"devS3": {"enabled": True}}, ["system"]),
        ({"devS3": {"enabled": True}, "watchNamespaces": ["a"]}, ["a"]),
    ],
)
def test_the_store_is_tried_as_stages_do_where_they_can(values: dict[str, Any], namespaces: list[str]) -> None:
    assert tried(values) == namespaces
    assert LEFT_OUT not in render(values)["NOTES.txt"]


@pytest.mark.parametrize("stages", [SECRET, {"serviceAccount": {"name": "of-others"}}])
def test_it_is_not_tried_where_nobody_has_said_which_namespaces_have_what_stages_need(stages: dict[str, Any]) -> None:
    values = {"test": URI, "stages": stages}
    assert tried(values) == []
    assert storages(values)["operator"]["uri"] == "s3://bucket/prefix"
    assert LEFT_OUT in render(values)["NOTES.txt"]
    assert LEFT_OUT not in render({"stages": stages})["NOTES.txt"], "nothing is to be tried"


def test_a_server_that_its_own_secret_must_name_is_tried_as_experiments_reach_it() -> None:
    """Otherwise `helm test` would pass with a Secret that sends stages to AWS."""
    own = {"devS3": {"enabled": True, "existingSecret": "keys"}}
    assert all("endpoint" not in storage for storage in storages(own).values())
    assert "AWS_ENDPOINT_URL=http://misstep-dev-s3.system.svc:7070" in render(own)["NOTES.txt"]
    assert not [found for found in objects(own) if found["kind"] == "Secret"]
    both = own | {"operator": {"envSecret": "reader"}, "stages": {"envSecret": "writer"}}
    assert storages(both)["operator"]["endpoint"] == "http://misstep-dev-s3.system.svc:7070"
    for values in (both, {"devS3": {"enabled": True}}):
        assert "devS3.existingSecret" not in render(values)["NOTES.txt"]


def test_they_run_where_the_operator_may() -> None:
    where = {"nodeSelector": {"pool": "system"}, "tolerations": [{"key": "system", "operator": "Exists"}]}
    pods = pod_specs({"operator": where, "devS3": {"enabled": True}})
    assert len(pods) == 4
    for name, pod in pods.items():
        assert {field: pod.get(field) for field in where} == where, name


def test_only_the_operators_own_test_has_its_environment_and_volumes() -> None:
    """Those of stages run in namespaces that need not have what the volumes name."""
    operator: dict[str, Any] = {
        "env": [{"name": "AWS_CA_BUNDLE", "value": "/ca/ca.pem"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    }
    storage = {**URI["storage"], "endpoint": "https://s3.example.com", "caBundle": "/ca/ca.pem"}
    values = {"operator": operator, "test": {"storage": storage}}
    own, stages = (pod_specs(values)[f"system/misstep-test-{whose}"] for whose in ("operator", "stages"))
    assert own["containers"][0]["env"] == operator["env"]
    assert operator["extraVolumes"][0] in own["volumes"]
    assert operator["extraVolumeMounts"][0] in own["containers"][0]["volumeMounts"]
    assert "env" not in stages["containers"][0]
    assert [volume["name"] for volume in stages["volumes"]] == ["tmp"]
    assert {found["ca_bundle"] for found in storages(values).values()} == {"/ca/ca.pem"}


def test_accounts_of_stages_outlive_the_release() -> None:
    """Running Jobs continue, but a pod whose account is gone would not be created again."""
    stages = {"serviceAccount": {"create": True, "annotations": {"identity": "write"}}}
    accounts = [found["metadata"] for found in objects({"stages": stages}) if found["kind"] == "ServiceAccount"]
    kept = {found["name"]: found.get("annotations", {}) for found in accounts}
    assert kept["misstep-stages"] == {"helm.sh/resource-policy": "keep", "identity": "write"}
    assert "helm.sh/resource-policy" not in kept["misstep-operator"]


@pytest.mark.parametrize(("watched", "said"), [([], True), (["team"], False)])
def test_the_notes_name_stages_without_network_policies(watched: list[str], said: bool) -> None:
    notes = render({"networkPolicy": {"enabled": True}, "watchNamespaces": watched})["NOTES.txt"]
    assert ("Stages in other namespaces are not restricted" in notes) == said


def test_stages_are_tried_with_their_own_environment_and_certificates() -> None:
    volumes = [
        {"mountPath": "/etc/ca", "configMap": "store-ca"},
        {"mountPath": "/etc/more", "secret": "more"},
        {"mountPath": "/big", "emptyDir": {}},
    ]
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    pods = pod_specs({"test": URI, "stages": {"defaults": {"env": env, "volumes": volumes}}})
    (pod,) = [pod for name, pod in pods.items() if name.endswith("-test-stages")]
    assert pod["containers"][0]["env"] == env
    found = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    given = {found[volume["name"]]: volume for volume in pod["volumes"]}
    assert given["/etc/ca"]["configMap"] == {"name": "store-ca"}
    assert given["/etc/more"]["secret"] == {"secretName": "more"}
    assert given.keys() == {"/tmp", "/etc/ca", "/etc/more"}
