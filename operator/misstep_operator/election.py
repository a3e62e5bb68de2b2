"""Which of several operators works: the one that holds a Lease.

The client's election says who may take the Lease. Its own loop is not used: it would wait five minutes for the answer
to one renewal, end where the network does and leave the work going on, and give nothing back at the end (kubernetes
37.0). Here the work stops before the Lease runs out, by a clock that nobody sets, and the Lease is given back after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from misstep_operator.api import Api, ApiError, Away

_log = structlog.get_logger(__name__)
LEASE_SECONDS = 13
"""Another operator may take a Lease that has not been renewed for so long, ..."""
STOP_SECONDS = 9.0
"""... and its holder stops working so long after it began the last renewal that came to pass."""
_RENEW_SECONDS, _AGAIN_SECONDS, _STAND_BY_SECONDS = 4.0, 1.0, 1.5
_ANSWER_SECONDS = 4.0
_GIVE_BACK_SECONDS = 3.0
_STALLED_SECONDS = 60.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Election:
    """One candidate for a Lease.

    Args:
        identity: of this operator; a process that has the identity of one that is dead goes on with its Lease.
    """

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        self._api, self._identity = api, identity
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        lock = LeaseLock(name, namespace, identity, api.client)

        async def unused() -> None: ...

        self._elector = LeaderElection(Config(lock, LEASE_SECONDS, STOP_SECONDS, _RENEW_SECONDS, unused, unused))
        self._last_turn = time.monotonic()

    @property
    def alive(self) -> bool:
        """Return whether this candidate still tries."""
        return time.monotonic() - self._last_turn < _STALLED_SECONDS

    async def run(self, work: Work) -> None:
        """Work whenever this operator holds the Lease, until cancelled. Raises what the work raises."""
        _log.info("stands by", identity=self._identity)
        while True:
            began = time.monotonic()
            if await self._holds(_ANSWER_SECONDS):
                await self._lead(work, began)
                _log.info("stands by", identity=self._identity)
            await asyncio.sleep(_STAND_BY_SECONDS)

    async def _lead(self, work: Work, renewed: float) -> None:
        """Work until the Lease is lost, or cannot be renewed in time."""
        _log.info("leads", identity=self._identity)
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
                if self._holder not in ("", self._identity):
                    _log.warning("another operator has the Lease", holder=self._holder)
                    break
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._give_back()
        if not task.cancelled():
            task.result()

    @property
    def _holder(self) -> str:
        record = self._elector.observed_record
        return str(record.holder_identity or "") if record else ""

    async def _holds(self, seconds: float) -> bool:
        """Take or renew the Lease; return whether that came to pass."""
        try:
            async with asyncio.timeout(seconds):
                return bool(await self._elector.try_acquire_or_renew())
        except (ClientError, OSError) as error:  # a time-out is an OSError
            _log.warning("no answer about the Lease", error=f"{type(error).__name__}: {error}")
            return False
        finally:
            self._last_turn = time.monotonic()

    async def _give_back(self) -> None:
        """Let another operator take the Lease at once. Where that fails, it takes it once it has run out."""
        try:
            async with asyncio.timeout(_GIVE_BACK_SECONDS):
                lease = await self._api.call("GET", self._path)
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self._api.call("PUT", self._path, lease)
        except (ApiError, Away, OSError) as error:
            _log.warning("the Lease was not given back", error=f"{type(error).__name__}: {error}")
