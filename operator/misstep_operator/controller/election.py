"""Leader election by a Lease, as client-go does it: of several operators, the one that holds it works.

The leader election of the Python client cannot be used (kubernetes 37.0). It fails to create a Lease, waits up to five
minutes for the answer to a renewal, ends on a network error while the work continues, does not notice that the work has
ended, and does not release the Lease. Here the work stops before the Lease expires, measured by the monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from misstep_operator.api.client import ApiError, ApiUnavailable, RestClient

_log = structlog.get_logger(__name__)
LEASE_SECONDS = 13
"""Another operator may take a Lease that has not been renewed for this time, ..."""
STOP_SECONDS = 9.0
"""... and its holder stops working this long after it began the last successful renewal."""
_RENEW_SECONDS, _RETRY_SECONDS, _STANDBY_SECONDS = 4.0, 1.0, 1.5
_ANSWER_SECONDS = 4.0
_RELEASE_SECONDS = 3.0
_STALLED_SECONDS = 60.0
_NOT_FOUND, _CONFLICT = 404, 409

Work = Callable[[], Coroutine[Any, Any, None]]


class Lease:
    """A Lease as one candidate knows it.

    Args:
        identity: of this operator. A new process with the identity of a dead one continues with its Lease.
    """

    def __init__(self, api: RestClient, namespace: str, name: str, identity: str) -> None:
        self._api, self._namespace, self._name, self.identity = api, namespace, name, identity
        self._known: dict[str, Any] | None = None
        """Its last known content, None where it may have changed."""
        self._version, self._changed = "", 0.0
        """Its last version, and when that was first seen here. Times in it are not used, since clocks may differ."""

    @property
    def holder(self) -> str:
        """The last known holder. Empty where none is known."""
        return str((self._known or {"spec": {}})["spec"].get("holderIdentity") or "")

    async def hold(self) -> bool:
        """Take or renew it, and return whether it is held now. Raises ApiError or ApiUnavailable."""
        known, self._known = self._known, None  # after any error it has to be read again
        if known is None or known["spec"].get("holderIdentity") != self.identity:
            known = await self._read()
        if known is None:
            return await self._write("POST", self._spec({}))
        if self._is_held_by_another(known):
            self._known = known
            return False
        return await self._write("PUT", self._spec(known["spec"]), known)

    async def release(self) -> None:
        """Release it, so that another operator can take it at once. Raises ApiError or ApiUnavailable."""
        known = await self._read()
        if known is not None and known["spec"].get("holderIdentity") == self.identity:
            await self._write("PUT", {**known["spec"], "holderIdentity": ""}, known)

    def _is_held_by_another(self, lease: dict[str, Any]) -> bool:
        """Return whether another operator holds a Lease that has not expired."""
        spec, now = lease["spec"], time.monotonic()
        if lease["metadata"]["resourceVersion"] != self._version:
            self._version, self._changed = lease["metadata"]["resourceVersion"], now
        if spec.get("holderIdentity") in (None, "", self.identity):
            return False
        return now - self._changed < max(LEASE_SECONDS, spec.get("leaseDurationSeconds") or 0)

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        taken = before.get("holderIdentity") != self.identity
        ours = {"holderIdentity": self.identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        if taken:
            ours |= {"acquireTime": now, "leaseTransitions": (before.get("leaseTransitions") or 0) + bool(before)}
        return {**before, **ours}

    async def _read(self) -> dict[str, Any] | None:
        try:
            found = await self._api.call("GET", f"{self._path}/{self._name}")
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        return {**found, "spec": found.get("spec") or {}}

    async def _write(self, method: str, spec: dict[str, Any], before: dict[str, Any] | None = None) -> bool:
        """Write it, unless it has changed since it was read. Return whether it was written."""
        body = before or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
        }
        try:
            path = self._path if method == "POST" else f"{self._path}/{self._name}"
            self._known = await self._api.call(method, path, {**body, "spec": spec})
        except ApiError as error:
            if error.code == _CONFLICT:
                return False
            raise
        return True

    @property
    def _path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"


class Election:
    """Runs the operator's work while it holds a Lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._last_try = time.monotonic()
        self._last_error = ""

    @property
    def alive(self) -> bool:
        """Return whether it still tries to get the Lease."""
        return time.monotonic() - self._last_try < _STALLED_SECONDS

    async def run(self, work: Work) -> None:
        """Work whenever this operator holds the Lease, until cancelled. Raises what the work raises."""
        _log.info("standing by", identity=self._lease.identity)
        while True:
            began = time.monotonic()
            if await self._holds(_ANSWER_SECONDS):
                await self._lead(work, began)
                _log.info("standing by", identity=self._lease.identity)
            await asyncio.sleep(_STANDBY_SECONDS)

    async def _lead(self, work: Work, renewed: float) -> None:
        """Work until the Lease is lost or cannot be renewed in time."""
        _log.info("leading", identity=self._lease.identity)
        task, pause = asyncio.create_task(work()), _RENEW_SECONDS
        try:
            while not task.done():
                left = renewed + STOP_SECONDS - time.monotonic()
                if left <= 0:
                    _log.warning("the Lease could not be renewed in time: another operator may take it")
                    break
                await asyncio.wait({task}, timeout=min(pause, left))
                began = time.monotonic()
                left = renewed + STOP_SECONDS - began
                if left > 0 and not task.done() and await self._holds(min(_ANSWER_SECONDS, left)):
                    renewed, pause = began, _RENEW_SECONDS
                    continue
                pause = _RETRY_SECONDS
                if self._lease.holder not in ("", self._lease.identity):
                    _log.warning("another operator holds the Lease", holder=self._lease.holder)
                    break
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._release()
        if not task.cancelled():
            task.result()

    async def _holds(self, seconds: float) -> bool:
        """Take or renew the Lease, and return whether that succeeded in time."""
        try:
            async with asyncio.timeout(seconds):
                held = await self._lease.hold()
        except (ApiError, ApiUnavailable, TimeoutError) as error:
            held, text = False, f"{type(error).__name__}: {error}"
            if text != self._last_error:  # once, and not every second while the API server is away
                _log.warning("the Lease could not be read or renewed", error=text)
            self._last_error = text
        else:
            self._last_error = ""
        self._last_try = time.monotonic()
        return held

    async def _release(self) -> None:
        """Release the Lease. Where that fails, another operator takes it once it has expired."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._lease.release()
        except (ApiError, ApiUnavailable, TimeoutError) as error:
            _log.warning("the Lease was not released", error=f"{type(error).__name__}: {error}")
