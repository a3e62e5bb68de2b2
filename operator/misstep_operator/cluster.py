"""What the operator asks of the API server, and writes there. Each method is one call."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import lightkube
import structlog
from lightkube import codecs
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.operators import BinaryOperator, Operator, SequenceOperator, not_equal
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Event, Pod
from lightkube.types import CascadeType, PatchType

from misstep.errors import MisstepError
from misstep_operator import observed as o

_log = structlog.get_logger(__name__)
Experiments = create_namespaced_resource("misstep.dev", "v1alpha1", "Experiment", "experiments")
Labels = dict[str, str | Operator[Any] | Iterable[Any] | None]
Fields = dict[str, str | BinaryOperator | SequenceOperator]
_BAD, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _INVALID = 400, 403, 404, 409, 422


class Refused(MisstepError):
    """The API server does not take an object: a quota, an admission policy, a missing right."""


class Cluster:
    """The API server, in the namespaces that are watched.

    Args:
        writer: under which name an Experiment's ``managedFields`` remember who wrote its status.
    """

    def __init__(self, client: lightkube.AsyncClient, namespaces: Sequence[str] = (), writer: str = o.MANAGER) -> None:
        self._client = client
        self._writer = writer
        self.namespaces: Sequence[str] = namespaces or ("*",)

    async def experiments(self, namespace: str) -> AsyncIterator[dict[str, Any]]:
        """List all Experiments of a watched namespace, one after the other: there may be many, and large ones."""
        async for found in self._client.list(Experiments, namespace=namespace):
            yield _plain(found)

    async def experiment(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one; None where there is none."""
        return await self._get(Experiments, namespace, name)

    async def jobs(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List an Experiment's Jobs."""
        return [_plain(job) async for job in self._client.list(Job, namespace=namespace, labels=_children(experiment))]

    async def pods(self, namespace: str, experiment: str) -> list[dict[str, Any]]:
        """List those of an Experiment's pods that have not succeeded."""
        unfinished: Fields = {"status.phase": not_equal("Succeeded")}
        found = self._client.list(Pod, namespace=namespace, labels=_children(experiment), fields=unfinished)
        return [_plain(pod) async for pod in found]

    async def jobs_for(self, keys: Sequence[str], storage: str, within: str | None = None) -> list[dict[str, Any]]:
        """List all Jobs of one namespace, or of all watched ones, that compute one of the keys in a store.

        A namespace where that is forbidden, as in one that is gone with its Role, is passed over.
        """
        marks: Labels = {o.KEY_LABEL: list(keys), o.STORAGE_LABEL: storage}
        found = []
        for namespace in self.namespaces if within is None else (within,):
            try:
                found += [_plain(job) async for job in self._client.list(Job, namespace=namespace, labels=marks)]
            except ApiError as error:
                if error.status.code != _FORBIDDEN:
                    raise
        return found

    async def complaints(self, namespace: str) -> dict[str, str]:
        """Return the last complaint in the events of each Job that has one: a quota, an admission policy."""
        fields: Fields = {"involvedObject.kind": "Job", "type": "Warning"}
        found = [event async for event in self._client.list(Event, namespace=namespace, fields=fields)]
        found.sort(key=lambda event: str(event.lastTimestamp or event.eventTime or ""))
        return {str(event.involvedObject.name): str(event.message or "") for event in found}

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read a ConfigMap; None where there is none."""
        return await self._get(ConfigMap, namespace, name)

    async def _get(self, kind: Any, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return _plain(await self._client.get(kind, name, namespace=namespace))
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise

    async def create(self, body: dict[str, Any]) -> bool:
        """Create a child; False where it is there already. Raises Refused with the API server's words."""
        try:
            await self._client.create(codecs.from_dict(body))
        except ApiError as error:
            if error.status.code == _CONFLICT and error.status.reason == "AlreadyExists":
                return False
            if error.status.code in (_BAD, _FORBIDDEN, _INVALID):
                raise Refused(str(error.status.message or error.status.reason)) from error
            raise
        return True

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job; it stays visible until its pods are gone."""
        await self._delete(Job, namespace, name, CascadeType.FOREGROUND)

    async def delete_config_map(self, namespace: str, name: str) -> None:
        """Delete a plan that is no longer needed."""
        await self._delete(ConfigMap, namespace, name, CascadeType.BACKGROUND)

    async def _delete(self, kind: Any, namespace: str, name: str, cascade: CascadeType) -> None:
        try:
            await self._client.delete(kind, name, namespace=namespace, cascade=cascade)
        except ApiError as error:
            if error.status.code != _NOT_FOUND:
                raise

    async def patch_status(self, namespace: str, name: str, version: str, status: dict[str, Any]) -> bool:
        """Replace an Experiment's status, if it is still as it was when it was read; False where it is not."""
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            await self._client.patch(
                Experiments.Status,
                name,
                patch,
                namespace=namespace,
                patch_type=PatchType.JSON,
                field_manager=self._writer,
            )
        except ApiError as error:
            # 422 is a test that does not hold, or, with causes, a status that the schema does not take.
            causes = error.status.details.causes if error.status.details else None
            if error.status.code in (_NOT_FOUND, _CONFLICT) or (error.status.code == _INVALID and not causes):
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
            await self._client.create(codecs.from_dict(body))
        except (ApiError, httpx2.HTTPError) as error:
            _log.warning("no event was posted", experiment=experiment.name, about=message, error=str(error))


def _children(experiment: str) -> Labels:
    return {o.EXPERIMENT_LABEL: experiment, o.MANAGED_LABEL: o.MANAGER}


def _plain(found: Any) -> dict[str, Any]:
    body: dict[str, Any] = found.to_dict()
    return body
