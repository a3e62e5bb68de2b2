"""What the operator asks of the API server, and writes there. Each method is one call."""

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
from misstep_operator.api.client import JSON_PATCH, Api, ApiError, Away, Query

_log = structlog.get_logger(__name__)
_BAD, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 400, 403, 404, 409, 422
_EXPERIMENT = ("misstep.dev/v1alpha1", "experiments")
_JOB = ("batch/v1", "jobs")
_POD, _CONFIG_MAP, _EVENT, _SERVICE = ("v1", "pods"), ("v1", "configmaps"), ("v1", "events"), ("v1", "services")
_KINDS = {"Job": _JOB, "ConfigMap": _CONFIG_MAP, "Event": _EVENT, "Service": _SERVICE}
"""What the operator creates."""


class Refused(MisstepError):
    """The API server does not take an object: a quota, an admission policy, a missing right."""


class Cluster:
    """The API server, in the namespaces that are watched.

    Args:
        writer: under which name an Experiment's ``managedFields`` remember who wrote its status.
    """

    def __init__(self, api: Api, namespaces: Sequence[str] = (), writer: str = o.MANAGER) -> None:
        self._api = api
        self._writer = writer
        self.namespaces: Sequence[str] = namespaces or ("*",)

    async def experiments(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """List all Experiments of a watched namespace, one after the other: there may be many, and large ones."""
        async for found in self._api.items(_path(_EXPERIMENT, namespace)):
            yield found

    def experiment_events(
        self, namespace: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch the Experiments of a watched namespace, from a version on, or from what is there."""
        return self._api.events(_path(_EXPERIMENT, namespace), _since(version), seconds)

    def job_events(self, namespace: str, version: str, seconds: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Watch the operator's Jobs in a watched namespace; other Jobs are left out by the API server."""
        query = {**_since(version), **_labelled({o.MANAGED_LABEL: o.MANAGER})}
        return self._api.events(_path(_JOB, namespace), query, seconds)

    async def experiment(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one; None where there is none."""
        return await self._get(_EXPERIMENT, namespace, name)

    async def jobs(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List an Experiment's Jobs, as far as they are read. Raises MisstepError where there are far too many."""
        found: list[dict[str, Any]] = []
        async for job in self._api.items(_path(_JOB, namespace), _labelled(_children(experiment))):
            if len(found) == trim.MOST_JOBS:
                problem = f"more than {trim.MOST_JOBS} Jobs have the labels of Experiment {experiment}"
                raise MisstepError(f"{problem}: delete those that are over (`kubectl delete jobs -l ...`)")
            found.append(trim.trim_job(job))
        return found

    async def pods(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List those of an Experiment's pods that have not succeeded, as far as they are read."""
        query = {**_labelled(_children(experiment)), "fieldSelector": "status.phase!=Succeeded"}
        found = self._api.items(_path(_POD, namespace), query)
        return [trim.trim_pod(pod) async for pod in _first(found, trim.MOST_PODS)]

    async def jobs_for(self, keys: Sequence[str], storage: str, within: str | None = None) -> list[dict[str, Any]]:
        """List all Jobs of one namespace, or of all watched ones, that compute one of the keys in a store.

        A namespace where that is forbidden, as in one that is gone with its Role, is passed over.
        """
        query = {"labelSelector": f"{o.KEY_LABEL} in ({','.join(keys)}),{o.STORAGE_LABEL}={storage}"}
        found: list[dict[str, Any]] = []
        for namespace in self.namespaces if within is None else (within,):
            jobs = _first(self._api.items(_path(_JOB, namespace), query), trim.MOST_OF_OTHERS)
            try:
                found += [trim.trim_job(job) async for job in jobs]
            except ApiError as error:
                if error.code != _FORBIDDEN:
                    raise
        return found

    async def complaints(self, namespace: str, names: Collection[str]) -> dict[str, str]:
        """Return the last complaint in the events of each of some Jobs that has one: a quota, an admission policy."""
        query = {"fieldSelector": "involvedObject.kind=Job,type=Warning"}
        last: dict[str, tuple[str, str]] = {}
        async for event in _first(self._api.items(_path(_EVENT, namespace), query), trim.MOST_EVENTS):
            name = str(event["involvedObject"].get("name"))
            if name in names:
                when = str(event.get("lastTimestamp") or event.get("eventTime") or "")
                last[name] = max(last.get(name, ("", "")), (when, trim.cut(str(event.get("message") or ""))))
        return {name: message for name, (_, message) in last.items()}

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read a ConfigMap; None where there is none."""
        return await self._get(_CONFIG_MAP, namespace, name)

    async def _get(self, kind: tuple[str, str], namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._api.call("GET", _path(kind, namespace, name))
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise

    async def create(self, body: dict[str, Any]) -> bool:
        """Create a child; False where it is there already. Raises Refused with the API server's words."""
        try:
            await self._api.call("POST", _path(_KINDS[body["kind"]], body["metadata"]["namespace"]), body)
        except ApiError as error:
            if error.code == _CONFLICT and error.reason == "AlreadyExists":
                return False
            if error.code in (_BAD, _FORBIDDEN, _INVALID):
                raise Refused(error.message or error.reason) from error
            raise
        return True

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job; it stays visible until its pods are gone."""
        await self._delete(_JOB, namespace, name, "Foreground")

    async def delete_config_map(self, namespace: str, name: str) -> None:
        """Delete a plan that is no longer needed."""
        await self._delete(_CONFIG_MAP, namespace, name, "Background")

    async def _delete(self, kind: tuple[str, str], namespace: str, name: str, propagation: str) -> None:
        try:
            await self._api.call("DELETE", _path(kind, namespace, name), {"propagationPolicy": propagation})
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise

    async def patch_status(self, namespace: str, name: str, version: str, status: dict[str, Any]) -> bool:
        """Replace an Experiment's status, if it is still as it was when it was read; False where it is not."""
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        path = f"{_path(_EXPERIMENT, namespace, name)}/status"
        try:
            await self._api.call("PATCH", path, patch, query={"fieldManager": self._writer}, media=JSON_PATCH)
        except ApiError as error:
            # 422 is a test that does not hold, or, with causes, a status that the schema does not take.
            if error.code in (_NOT_FOUND, _CONFLICT) or (error.code == _INVALID and not error.causes):
                return False
            raise
        return True

    async def tell(self, experiment: o.ExperimentView, reason: str, message: str, *, warning: bool) -> None:
        """Post an event about an Experiment. One that cannot be posted is logged: the status says the same."""
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
            await self._api.call("POST", _path(_EVENT, experiment.namespace), body)
        except (ApiError, Away) as error:
            _log.warning("no event was posted", experiment=experiment.name, about=message, error=str(error))


def _path(kind: tuple[str, str], namespace: str, name: str = "") -> str:
    """Return where objects of a kind are, in a namespace or, for "*", in all of them."""
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
    """Yield the first objects of a list, and read no more of it."""
    left = count
    async with aclosing(items) as found:
        async for item in found:
            if left == 0:
                return
            left -= 1
            yield item
