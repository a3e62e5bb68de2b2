"""Objects that the tests create, as kubectl reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from cluster.images import BUSYBOX

RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def namespace(name: str, level: str = "restricted") -> str:
    labels = {"pod-security.kubernetes.io/enforce": level}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def pod_spec(script: str, security: dict[str, Any] | None = None) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "securityContext": RESTRICTED if security is None else security,
        "resources": {"requests": {"ephemeral-storage": "1Mi"}, "limits": {"memory": "32Mi"}},
    }
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}


def pod(name: str, script: str, security: dict[str, Any] | None = None) -> str:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(script, security)}
    return json.dumps(body)


def indexed_job(name: str, script: str, pods: int) -> str:
    spec = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": 0,
        "template": {"spec": pod_spec(script)},
    }
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


def discovered_labels(metadata: dict[str, Any]) -> dict[str, str]:
    """What Prometheus' discovery of pods, and a PodMonitor, give a target before any relabelling."""
    name = "__meta_kubernetes_pod_label_"
    meta = {name + re.sub("[^a-zA-Z0-9_]", "_", key): value for key, value in metadata["labels"].items()}
    return {**meta, "namespace": metadata["namespace"], "pod": metadata["name"]}
