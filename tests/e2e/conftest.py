"""One installation for all tests here: loading the images takes minutes. A Prometheus watches it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster.life import Cluster
from tests.cluster.scraping import Prometheus, prometheus, stage_relabelings
from tests.e2e.installed import NAMESPACE, SYSTEM, Installed, installed


@pytest.fixture(scope="session")
def world(node: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(node, tmp_path_factory.mktemp("e2e")) as found:
        yield found


@pytest.fixture(scope="session")
def monitoring(world: Installed) -> Iterator[Prometheus]:
    """Scrapes the operator and stages, which it finds through the API server, as the chart's monitors would have it."""
    scrape = [
        {"job_name": "operator", "honor_labels": True, **_pods(world, SYSTEM, [])},
        {"job_name": "stages", **_pods(world, NAMESPACE, stage_relabelings())},
    ]
    with prometheus(world.folder / "prometheus", scrape) as found:
        yield found


def _pods(world: Installed, namespace: str, relabelings: list[dict[str, Any]]) -> dict[str, Any]:
    """What the Prometheus operator makes of a PodMonitor: pods of a namespace by their port's name."""
    meta = "__meta_kubernetes_"
    discovery = {"role": "pod", "kubeconfig_file": str(world.kubeconfig), "namespaces": {"names": [namespace]}}
    common = [
        {"source_labels": [f"{meta}pod_container_port_name"], "regex": "metrics", "action": "keep"},
        {"source_labels": [f"{meta}pod_phase"], "regex": "Pending|Succeeded|Failed", "action": "drop"},
        {"source_labels": [f"{meta}namespace"], "target_label": "namespace"},
        {"source_labels": [f"{meta}pod_name"], "target_label": "pod"},
    ]
    return {"kubernetes_sd_configs": [discovery], "relabel_configs": [*common, *relabelings]}
