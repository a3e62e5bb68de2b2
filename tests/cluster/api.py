"""The API server for tests, by path and as plain objects: kubectl takes a while to start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import load_kube_config
from urllib3.exceptions import HTTPError

Away = HTTPError
"""What is raised where the API server is away."""
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """The API server does not do what it was asked."""

    def __init__(self, code: int, status: Mapping[str, Any]) -> None:
        super().__init__(f"{code} {status.get('reason')}: {status.get('message')}")
        self.code, self.reason = code, status.get("reason")


class Api:
    """Asks with the rights of a kubeconfig; may be shared by threads."""

    def __init__(self, kubeconfig: Path | str) -> None:
        configuration = Configuration()
        load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)
        configuration.retries = False  # urllib3 would try again, and wait, on its own
        self._client = ApiClient(configuration)

    def call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None, media: str = MERGE
    ) -> dict[str, Any]:
        """Make one request and return the object of the answer.

        Args:
            media: what a PATCH is.
        """
        found: dict[str, Any] = json.loads(self._open(method, path, body, query, media).data)
        return found

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """List objects."""
        return list(self.call("GET", path, query=query)["items"])

    def events(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Watch objects, from those that are there on."""
        for line in self._open("GET", path, None, {**query, "watch": "true"}, MERGE):
            yield json.loads(line)

    def _open(self, method: str, path: str, body: Any, query: Mapping[str, str] | None, media: str) -> Any:
        kind = media if method == "PATCH" else "application/json"
        asked = self._client.param_serialize(
            method,
            path,
            query_params=dict(query or {}),
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*asked).response
        if answer.status >= 300:
            try:
                status = json.loads(answer.data)
            except ValueError:
                status = {"message": answer.data[:500]}
            raise Refused(answer.status, status)
        return answer


def pods(namespace: str) -> str:
    """Return the path of pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def jobs(namespace: str) -> str:
    """Return the path of Jobs."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def leases(namespace: str) -> str:
    """Return the path of Leases."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def experiments(namespace: str) -> str:
    """Return the path of Experiments."""
    return f"/apis/misstep.dev/v1alpha1/namespaces/{namespace}/experiments"
