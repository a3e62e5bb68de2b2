"""What the operator reads from the API server and writes there."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import structlog

from misstep.errors import MisstepError
from misstep_operator import observed as o
from misstep_operator.api import trim
from misstep_operator.api.client import JSON_PATCH, ApiError, ApiUnavailable, Query, RestClient

_log = structlog.get_logger(__name__)
_BAD, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 400, 403, 404, 409, 422
_EXPERIMENT = ("misstep.dev/v1alpha1", "experiments")
_JOB = ("batch/v1", "jobs")
_POD, _CONFIG_MAP, _EVENT, _SERVICE = ("v1", "pods"), ("v1", "configmaps"), ("v1", "events"), ("v1", "services")
_KINDS = {"Job": _JOB, "ConfigMap": _CONFIG_MAP, "Event": _EVENT, "Service": _SERVICE}
"""Kinds that the operator creates."""


class Refused(MisstepError):
    """The API server refuses an object because of a quota, an admission policy or a missing right."""


class KubernetesApi:
    """The API server, in the watched namespaces.

    Args:
        writer: the name of this operator in the ``managedFields`` of an Experiment's status.
    """

    def __init__(self, client: RestClient, namespaces: Sequence[str] = (), writer: str = o.MANAGER) -> None:
        self._client = client
        self._writer = writer
        self.namespaces: Sequence[str] = namespaces or ("*",)

    async def experiments(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all Experiments of a watched namespace. They may be many and large."""
        async for found in self._client.items(_path(_EXPERIMENT, namespace)):
            yield found

    def watch_experiments(
        self, namespace: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch the Experiments of a watched namespace from a version on, or else from the present ones."""
        return self._client.events(_path(_EXPERIMENT, namespace), _since(version), seconds)

    def watch_jobs(self, namespace: str, version: str, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch the operator's Jobs in a watched namespace. The API server leaves out other Jobs."""
        query = {**_since(version), **_labelled({o.MANAGED_LABEL: o.MANAGER})}
        return self._client.events(_path(_JOB, namespace), query, seconds)

    async def experiment(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read an Experiment. None where there is none."""
        return await self._get(_EXPERIMENT, namespace, name)

    async def jobs(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List an Experiment's Jobs, with the used fields. Raises MisstepError where there are far too many."""
        found: list[dict[str, Any]] = []
        async for job in self._client.items(_path(_JOB, namespace), _labelled(_children(experiment))):
            if len(found) == trim.MAX_JOBS:
                problem = f"more than {trim.MAX_JOBS} Jobs have the labels of Experiment {experiment}"
                raise MisstepError(f"{problem}: delete finished ones (`kubectl delete jobs -l ...`)")
            found.append(trim.trim_job(job))
        return found

    async def pods(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List an Experiment's pods that have not succeeded, with the fields that are used."""
        query = {**_labelled(_children(experiment)), "fieldSelector": "status.phase!=Succeeded"}
        found = self._client.items(_path(_POD, namespace), query)
        return [trim.trim_pod(pod) async for pod in _first(found, trim.MAX_PODS)]

    async def jobs_with_keys(
        self, keys: Sequence[str], storage: str, namespace: str | None = None
    ) -> list[dict[str, Any]]:
        """List the Jobs of one namespace, or of all watched ones, that compute one of the keys in a store.

        A namespace where that is forbidden is left out, as one that was deleted with the operator's Role.
        """
        query = {"labelSelector": f"{o.KEY_LABEL} in ({','.join(keys)}),{o.STORAGE_LABEL}={storage}"}
        found: list[dict[str, Any]] = []
        for each in self.namespaces if namespace is None else (namespace,):
            jobs = _first(self._client.items(_path(_JOB, each), query), trim.MAX_OF_OTHERS)
            try:
                found += [trim.trim_job(job) async for job in jobs]
            except ApiError as error:
                if error.code != _FORBIDDEN:
                    raise
        return found

    async def last_warnings(self, namespace: str, names: Collection[str]) -> dict[str, str]:
        """Return the last warning event of each Job that has one, for example about a quota or an admission policy."""
        query = {"fieldSelector": "involvedObject.kind=Job,type=Warning"}
        last: dict[str, tuple[str, str]] = {}
        async for event in _first(self._client.items(_path(_EVENT, namespace), query), trim.MAX_EVENTS):
            name = str(event["involvedObject"].get("name"))
            if name in names:
                when = str(event.get("lastTimestamp") or event.get("eventTime") or "")
                last[name] = max(last.get(name, ("", "")), (when, trim.cut(str(event.get("message") or ""))))
        return {name: message for name, (_, message) in last.items()}

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read a ConfigMap. None where there is none."""
        return await self._get(_CONFIG_MAP, namespace, name)

    async def _get(self, kind: tuple[str, str], namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._client.call("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def create(self, body: dict[str, Any]) -> bool:
        """Create an object. Return False where it is already there. Raises Refused with the API server's message."""
        try:
            await self._client.call("POST", _path(_KINDS[body["kind"]], body["metadata"]["namespace"]), body)
        except ApiError as error:
            if error.code == _CONFLICT and error.reason == "AlreadyExists":
                return False
            if error.code in (_BAD, _FORBIDDEN, _INVALID):
                raise Refused(error.message or error.reason) from error
            raise
        return True

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job. It stays visible until its pods are gone."""
        await self._delete(_JOB, namespace, name, "Foreground")

    async def delete_config_map(self, namespace: str, name: str) -> None:
        """Delete a ConfigMap."""
        await self._delete(_CONFIG_MAP, namespace, name, "Background")

    async def _delete(self, kind: tuple[str, str], namespace: str, name: str, propagation: str) -> None:
        try:
            await self._client.call("DELETE", _path(kind, namespace, name), {"propagationPolicy": propagation})
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise

    async def patch_status(self, namespace: str, name: str, version: str, status: dict[str, Any]) -> bool:
        """Replace the status of an Experiment that has not changed since it was read. Return False where it has."""
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        path = f"{_path(_EXPERIMENT, namespace, name)}/status"
        try:
            await self._client.call("PATCH", path, patch, query={"fieldManager": self._writer}, media=JSON_PATCH)
        except ApiError as error:
            # 422 means that the test failed or, with causes, that the schema refuses the status.
            if error.code in (_NOT_FOUND, _CONFLICT) or (error.code == _INVALID and not error.causes):
                return False
            raise
        return True

    async def post_event(self, experiment: o.ExperimentView, reason: str, message: str, *, warning: bool) -> None:
        """Post an event about an Experiment. A failure is only logged, since the status says the same."""
        now = datetime.now(UTC)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{experiment.name}.{uuid.uuid4().hex[:12]}", "namespace": experiment.namespace},
            "involvedObject": {
                "apiVersion": "misstep.dev/v1alpha1",
                "kind": "Experiment",
                "name": experiment.name,
                "namespace": experiment.namespace,
                "uid": experiment.uid,
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:1000],
            "count": 1,
            "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "source": {"component": o.MANAGER},
        }
        try:
            await self._client.call("POST", _path(_EVENT, experiment.namespace), body)
        except (ApiError, ApiUnavailable) as error:
            _log.warning("event not posted", experiment=experiment.name, about=message, error=str(error))


def _path(kind: tuple[str, str], namespace: str, name: str = "") -> str:
    """Return the path of a kind's objects in a namespace, or for "*" in all of them."""
    group, plural = kind
    parts = ["apis" if "/" in group else "api", group]
    parts += [plural] if namespace == "*" else ["namespaces", namespace, plural]
    return "/" + "/".join([*parts, name] if name else parts)


def _children(experiment: str) -> dict[str, str]:
    return {o.EXPERIMENT_LABEL: experiment, o.MANAGED_LABEL: o.MANAGER}


def _labelled(labels: Mapping[str, str]) -> Query:
    return {"labelSelector": ",".join(f"{name}={value}" for name, value in labels.items())}


def _since(version: str) -> Query:
    return {"resourceVersion": version} if version else {}


async def _first(items: AsyncGenerator[dict[str, Any]], count: int) -> AsyncIterator[dict[str, Any]]:
    """Yield the first objects of a list without reading the rest."""
    left = count
    async with aclosing(items) as found:
        async for item in found:
            if left == 0:
                return
            left -= 1
            yield item
