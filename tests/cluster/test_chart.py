"""The chart on a real API server: it accepts all objects, permissions are as described, Experiments outlive the
release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Config

from cluster.life import kubectl
from cluster.places import ClusterError
from tests.chart.rendering import CHART
from tests.cluster.fixtures import own_control_plane
from tests.cluster.manifests import namespace
from tests.cluster.operating import await_crd

pytestmark = pytest.mark.cluster

HOME, TEAM = "chart-home", "chart-team"
VALUES: dict[str, Any] = {
    "commonLabels": {"cost-centre": "research"},
    "operator": {"replicas": 2},
    "stages": {"serviceAccount": {"create": True, "namespaces": [TEAM], "annotations": {"identity": "write"}}},
    "metrics": {"dashboards": {"enabled": True}},
    "networkPolicy": {"enabled": True, "namespaces": [TEAM]},
    "devS3": {"enabled": True, "persistence": {"enabled": True}, "namespaces": [TEAM]},
}
EXPERIMENT = f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: kept, namespace: {TEAM}}}
spec:
  storage: {{uri: s3://misstep/x}}
  problems: {{train: {{format: strides, limit: 20}}, test: {{format: strides, limit: 5}}, sizes: [10]}}
  policy: {{model: {{hub: some/model, revision: {"a" * 40}}}}}
"""


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One of its own: Helm refuses a CRD that others have installed, and must not own theirs."""
    with own_control_plane(tmp_path_factory.mktemp("chart")) as kubeconfig:
        yield kubeconfig


@pytest.fixture(scope="module")
def helm(control_plane: Path) -> Iterator[Config]:
    for name in (HOME, TEAM):
        kubectl(control_plane, "create", "-f-", stdin=namespace(name))
    with Config(kubeconfig_path=control_plane, namespace=HOME) as config:
        yield config


def may(control_plane: Path, account: str, *what: str) -> bool:
    """Return whether a service account of the release's namespace may do something."""
    try:
        kubectl(control_plane, "auth", "can-i", *what, f"--as=system:serviceaccount:{HOME}:{account}")
    except ClusterError:
        return False
    return True


def test_a_release_lives_and_experiments_outlive_it(helm: Config, control_plane: Path) -> None:
    helm.install(CHART, "misstep", VALUES, namespace=HOME)
    keys = yaml.safe_load(kubectl(control_plane, "get", "secret", "misstep-dev-s3", f"-n{HOME}", "-oyaml"))["data"]
    copy = yaml.safe_load(kubectl(control_plane, "get", "secret", "misstep-dev-s3", f"-n{TEAM}", "-oyaml"))["data"]
    assert keys == copy
    helm.upgrade(CHART, "misstep", VALUES | {"operator": {"resyncSeconds": 5, "replicas": 1}}, namespace=HOME)
    after = yaml.safe_load(kubectl(control_plane, "get", "secret", "misstep-dev-s3", f"-n{HOME}", "-oyaml"))["data"]
    assert after == keys, "an upgrade has changed the keys"
    await_crd(control_plane)
    kubectl(control_plane, "create", "-f-", stdin=EXPERIMENT)

    operator = "misstep-operator"
    for verb, kind in [("list", "experiments.misstep.dev"), ("create", "jobs.batch"), ("list", "events")]:
        assert may(control_plane, operator, verb, kind, f"-n{TEAM}"), (verb, kind)
    assert may(control_plane, operator, "patch", "experiments.misstep.dev", "--subresource=status", f"-n{TEAM}")
    for verb, kind in [("get", "secrets"), ("patch", "experiments.misstep.dev"), ("create", "pods"), ("list", "nodes")]:
        assert not may(control_plane, operator, verb, kind, f"-n{TEAM}"), (verb, kind)
    assert not may(control_plane, "misstep-stages", "list", "pods", f"-n{HOME}")
    lease = "leases.coordination.k8s.io"
    assert may(control_plane, operator, "create", lease, f"-n{HOME}")
    assert may(control_plane, operator, "update", f"{lease}/misstep-operator", f"-n{HOME}")
    for verb, what, where in [
        ("update", f"{lease}/another", HOME),
        ("list", lease, HOME),
        ("delete", f"{lease}/misstep-operator", HOME),
        ("create", lease, TEAM),
        ("get", f"{lease}/misstep-operator", TEAM),
    ]:
        assert not may(control_plane, operator, verb, what, f"-n{where}"), (verb, what, where)

    helm.uninstall("misstep")
    assert kubectl(control_plane, "get", "experiments", f"-n{TEAM}", "-oname").strip() == "experiment.misstep.dev/kept"
    kubectl(control_plane, "get", "pvc", "misstep-dev-s3", f"-n{HOME}")
    kubectl(control_plane, "get", "serviceaccount", "misstep-stages", f"-n{TEAM}")  # Jobs that run ask for it

    helm.install(CHART, "misstep", VALUES, namespace=HOME)
    assert kubectl(control_plane, "get", "experiments", f"-n{TEAM}", "-oname").strip() == "experiment.misstep.dev/kept"
    helm.uninstall("misstep")


def test_rights_of_a_release_for_one_namespace_end_there(helm: Config, control_plane: Path) -> None:
    values = {
        "watchNamespaces": [TEAM],
        "crds": {"enabled": False},
        "rbac": {"aggregate": "none"},
        "policy": {"admission": False},
    }
    helm.install(CHART, "narrow", values, namespace=HOME)
    account = "narrow-misstep-operator"
    assert may(control_plane, account, "create", "jobs.batch", f"-n{TEAM}")
    assert not may(control_plane, account, "create", "jobs.batch", f"-n{HOME}")
    helm.uninstall("narrow")
