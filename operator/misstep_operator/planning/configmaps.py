"""The plan of each generation of an Experiment: made once, kept in a ConfigMap, and taken back only as it was made.

Whoever may write ConfigMaps in a namespace could put a plan of their own under the name that comes next: with other
stages, other stores and thousands of pods. So the status, which only the operator writes, holds the digest of the plan
before anything is started from it, and a ConfigMap with another one is refused.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from misstep.errors import MisstepError
from misstep.plan import configmap
from misstep.plan.frozen import Storage
from misstep.plan.planner import Plan, storage_of
from misstep.spec.experiment import Experiment
from misstep_operator import messages as say
from misstep_operator.api.kubernetes import Cluster, Refused
from misstep_operator.api.parse import is_owned
from misstep_operator.jobs.job import child_labels, owner_reference
from misstep_operator.observed import ExperimentView
from misstep_operator.planning import planning

T = TypeVar("T")
_REMEMBERED_BYTES = 16 << 20
"""Of remembered plans, as JSON; in memory they take some six times as much."""


@dataclass(frozen=True)
class KeptPlan:
    """A plan, and what it is recognised by."""

    plan: Plan
    digest: str
    size: int
    """Bytes of its JSON."""


@dataclass(frozen=True)
class _Made:
    """A plan that was made here, and its ConfigMap's data: packed once."""

    found: KeptPlan
    data: Mapping[str, str]


class Plans:
    """Makes plans, keeps them in ConfigMaps, and remembers some.

    Args:
        config: returns the ``config.json`` of a model in a store, for a namespace; blocks, may raise MisstepError.
        threads: where it is called.
    """

    def __init__(self, cluster: Cluster, config: Callable[..., bytes], threads: Executor) -> None:
        self._cluster, self._config, self._threads = cluster, config, threads
        self._known: dict[tuple[str, int], KeptPlan] = {}
        self._made: dict[tuple[str, int], _Made] = {}
        """Those whose ConfigMap is somebody else's: they need not be made anew at each pass."""
        self._planning = asyncio.Lock()

    async def of(self, view: ExperimentView, experiment: Experiment) -> KeptPlan | MisstepError:
        """Return the plan frozen for this generation, made and kept where there is none; or why there is no plan.

        Raises what the API server's client raises.
        """
        name = view.uid, view.generation
        found = self._known.get(name)
        if found is not None:
            return found
        try:
            found = await self._find(view, experiment)
        except Refused as error:
            return Refused(say.refused_plan(str(error)))
        except MisstepError as error:
            return error
        self._made.pop(name, None)
        _remember(self._known, name, found, lambda each: each.size)
        return found

    def drop(self, uid: str) -> None:
        """Forget the plans of an Experiment."""
        for plans in (self._known, self._made):
            for name in [each for each in plans if each[0] == uid]:
                del plans[name]

    async def _find(self, view: ExperimentView, experiment: Experiment) -> KeptPlan:
        name = configmap.plan_name(view.name, view.uid, view.generation)
        there = await self._cluster.config_map(view.namespace, name)
        if there is None:
            made = await self._make(view, experiment)
            if await self._cluster.create(_config_map(name, view, made.data)):
                await self._forget_before(view)
                return made.found
            there = await self._cluster.config_map(view.namespace, name)
        data = (there or {}).get("binaryData")
        digest = await asyncio.to_thread(configmap.digest, data)
        recorded = view.plan_digest
        if recorded is None and is_owned(
            there or {}, view.uid
        ):  # the status of an earlier version, which knew no digests
            return await asyncio.to_thread(_of_earlier_version, view, experiment, data, digest)
        if recorded:
            if digest != recorded:
                raise MisstepError(say.foreign_plan(name))
            return await asyncio.to_thread(_read, data, digest)
        # Made, and the status not written: by an operator that ended in between, or by somebody else.
        made = await self._make(view, experiment)
        if digest != made.found.digest:
            raise MisstepError(say.foreign_plan(name))
        return made.found

    async def _make(self, view: ExperimentView, experiment: Experiment) -> _Made:
        name = view.uid, view.generation
        if name not in self._made:
            externals = planning.find_externals(experiment)
            read = partial(self._config, namespace=view.namespace)
            shapes = await asyncio.get_running_loop().run_in_executor(
                self._threads, planning.read_shapes, experiment, externals, read
            )
            async with self._planning:  # many at once would be no faster, and take more memory
                plan = await asyncio.to_thread(planning.make_plan, experiment, externals, shapes)
                data = await asyncio.to_thread(configmap.pack, plan)
            found = KeptPlan(plan, configmap.digest(data), len(configmap.inflate(data)))
            _remember(self._made, name, _Made(found, data), lambda each: each.found.size)
        return self._made[name]

    async def _forget_before(self, view: ExperimentView) -> None:
        """Remove the plan of the generation that this one replaces."""
        before = view.status.get("observedGeneration")
        if isinstance(before, int) and 0 < before < view.generation:
            await self._cluster.delete_config_map(view.namespace, configmap.plan_name(view.name, view.uid, before))


def _config_map(name: str, view: ExperimentView, data: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": view.namespace,
            "labels": child_labels(view),
            "ownerReferences": [owner_reference(view)],
        },
        "immutable": True,
        "binaryData": data,
    }


def _read(data: Mapping[str, str] | None, digest: str) -> KeptPlan:
    text = configmap.inflate(data)
    return KeptPlan(configmap.parse(text), digest, len(text))


def _of_earlier_version(
    view: ExperimentView, experiment: Experiment, data: Mapping[str, str] | None, digest: str
) -> KeptPlan:
    """Take the plan of an Experiment that an earlier version has begun, so that it keeps its keys: if it is the one
    whose stages stand in the status, lies in the same store, and is no larger than any may be. Raises MisstepError."""
    found = _read(data, digest)
    keys = [entry.get("key") for entry in view.entries("stages")]
    places: set[Storage] = {stage.storage for stage in found.plan.stages}
    if keys != [stage.key for stage in found.plan.stages] or places != {storage_of(experiment)}:
        raise MisstepError(say.foreign_plan(configmap.plan_name(view.name, view.uid, view.generation)))
    planning.refuse_too_many(found.plan)
    return found


def _remember(plans: dict[tuple[str, int], T], name: tuple[str, int], plan: T, size_of: Callable[[T], int]) -> None:
    while plans and sum(map(size_of, plans.values())) + size_of(plan) > _REMEMBERED_BYTES:
        # Any one: a resync visits them all in turn, and the oldest or least recently used would be needed next.
        del plans[random.choice(list(plans))]
    plans[name] = plan
