"""Which of several operators works: the one that holds a Lease, as client-go's leader election has it.

The client has an election of its own, which cannot be used (kubernetes 37.0): it fails to make a Lease, waits up to
five minutes for the answer to a renewal, ends where the network does with the work still going on, does not see that
work has ended, and gives nothing back. Here the work stops before the Lease runs out, by a clock that nobody sets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from misstep_operator.api.client import Api, ApiError, Away

_log = structlog.get_logger(__name__)
LEASE_SECONDS = 13
"""Another operator may take a Lease that has not been renewed for so long, ..."""
STOP_SECONDS = 9.0
"""... and its holder stops working so long after it began the last renewal that came to pass."""
_RENEW_SECONDS, _AGAIN_SECONDS, _STAND_BY_SECONDS = 4.0, 1.0, 1.5
_ANSWER_SECONDS = 4.0
_GIVE_BACK_SECONDS = 3.0
_STALLED_SECONDS = 60.0
_NOT_FOUND, _CONFLICT = 404, 409

Work = Callable[[], Coroutine[Any, Any, None]]


class Lease:
    """A Lease as one candidate knows it.

    Args:
        identity: of this operator; a process that has the identity of one that is dead goes on with its Lease.
    """

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        self._api, self._namespace, self._name, self.identity = api, namespace, name, identity
        self._known: dict[str, Any] | None = None
        """As the API server last gave it, while nothing says that it is otherwise."""
        self._version, self._changed = "", 0.0
        """Its last version that was another one than before, and when that was seen here: other clocks may be wrong."""

    @property
    def holder(self) -> str:
        """Who holds it, as far as is known; nobody where nothing is."""
        return str((self._known or {"spec": {}})["spec"].get("holderIdentity") or "")

    async def hold(self) -> bool:
        """Take or renew it; return whether it is held now. Raises ApiError or Away."""
        known, self._known = self._known, None  # whatever comes in between: what is there must be read then
        if known is None or known["spec"].get("holderIdentity") != self.identity:
            known = await self._read()
        if known is None:
            return await self._write("POST", self._spec({}))
        if self._is_anothers(known):
            self._known = known
            return False
        return await self._write("PUT", self._spec(known["spec"]), known)

    async def give_back(self) -> None:
        """Let another operator take it at once. Raises ApiError or Away."""
        known = await self._read()
        if known is not None and known["spec"].get("holderIdentity") == self.identity:
            await self._write("PUT", {**known["spec"], "holderIdentity": ""}, known)

    def _is_anothers(self, lease: dict[str, Any]) -> bool:
        """Return whether another operator holds a Lease, which has not run out."""
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
        """Write it, unless it has changed since it was read; return whether that came to pass."""
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
    """Has an operator work while it holds a Lease, and stand by otherwise."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._last_turn = time.monotonic()
        self._said = ""

    @property
    def alive(self) -> bool:
        """Return whether this candidate still tries."""
        return time.monotonic() - self._last_turn < _STALLED_SECONDS

    async def run(self, work: Work) -> None:
        """Work whenever this operator holds the Lease, until cancelled. Raises what the work raises."""
        _log.info("stands by", identity=self._lease.identity)
        while True:
            began = time.monotonic()
            if await self._holds(_ANSWER_SECONDS):
                await self._lead(work, began)
                _log.info("stands by", identity=self._lease.identity)
            await asyncio.sleep(_STAND_BY_SECONDS)

    async def _lead(self, work: Work, renewed: float) -> None:
        """Work until the Lease is lost, or cannot be renewed in time."""
        _log.info("leads", identity=self._lease.identity)
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
                pause = _AGAIN_SECONDS
                if self._lease.holder not in ("", self._lease.identity):
                    _log.warning("another operator has the Lease", holder=self._lease.holder)
                    break
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._give_back()
        if not task.cancelled():
            task.result()

    async def _holds(self, seconds: float) -> bool:
        """Take or renew the Lease; return whether that came to pass in time."""
        try:
            async with asyncio.timeout(seconds):
                held = await self._lease.hold()
        except (ApiError, Away, TimeoutError) as error:
            held, said = False, f"{type(error).__name__}: {error}"
            if said != self._said:  # once, and not every second for as long as the API server is away
                _log.warning("the Lease was neither read nor renewed", error=said)
            self._said = said
        else:
            self._said = ""
        self._last_turn = time.monotonic()
        return held

    async def _give_back(self) -> None:
        """Where that fails, another operator takes the Lease once it has run out."""
        try:
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                await self._lease.give_back()
        except (ApiError, Away, TimeoutError) as error:
            _log.warning("the Lease was not given back", error=f"{type(error).__name__}: {error}")
