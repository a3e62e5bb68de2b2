"""The ConfigMap of each generation's plan. It is made once, and used only if it is as the operator made it.

Anyone who may write ConfigMaps in a namespace could put a plan of their own under the next name, with other stages,
other stores and thousands of pods. So the status, which only the operator writes, has the digest of the plan before
anything starts, and a ConfigMap with another digest is refused.
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
from misstep.plan.planner import Plan, storage_of
from misstep.spec.experiment import Experiment
from misstep.store.description import Storage
from misstep_operator import messages
from misstep_operator.api.kubernetes import KubernetesApi, Refused
from misstep_operator.api.parse import is_owned
from misstep_operator.jobs.job import child_labels, owner_reference
from misstep_operator.observed import ExperimentView
from misstep_operator.planning import planning

T = TypeVar("T")
_CACHE_BYTES = 16 << 20
"""Plans in memory, as JSON. As objects they take about six times as much."""


@dataclass(frozen=True)
class StoredPlan:
    """A plan and the digest of its ConfigMap."""

    plan: Plan
    digest: str
    size: int
    """Bytes of its JSON."""


@dataclass(frozen=True)
class _NewPlan:
    """A plan that was made here, and its ConfigMap's data, packed once."""

    stored: StoredPlan
    data: Mapping[str, str]


class PlanConfigMaps:
    """Makes plans, keeps them in ConfigMaps, and caches some.

    Args:
        read_config: returns the ``config.json`` of a model in a store, for a namespace; blocks, may raise MisstepError.
        threads: where it is called.
    """

    def __init__(self, api: KubernetesApi, read_config: Callable[..., bytes], threads: Executor) -> None:
        self._api, self._read_config, self._threads = api, read_config, threads
        self._cached: dict[tuple[str, int], StoredPlan] = {}
        self._made: dict[tuple[str, int], _NewPlan] = {}
        """Plans whose ConfigMap someone else has written, so that they are not made again each time."""
        self._planning = asyncio.Lock()

    async def get(self, view: ExperimentView, experiment: Experiment) -> StoredPlan | MisstepError:
        """Return this generation's plan, made and stored where there is none, or why there is no plan.

        Raises what the API client raises.
        """
        name = view.uid, view.generation
        found = self._cached.get(name)
        if found is not None:
            return found
        try:
            found = await self._find(view, experiment)
        except Refused as error:
            return Refused(messages.plan_refused(str(error)))
        except MisstepError as error:
            return error
        self._made.pop(name, None)
        _cache(self._cached, name, found, lambda each: each.size)
        return found

    def forget(self, uid: str) -> None:
        """Remove the plans of an Experiment from the cache."""
        for plans in (self._cached, self._made):
            for name in [each for each in plans if each[0] == uid]:
                del plans[name]

    async def _find(self, view: ExperimentView, experiment: Experiment) -> StoredPlan:
        name = configmap.plan_name(view.name, view.uid, view.generation)
        there = await self._api.config_map(view.namespace, name)
        if there is None:
            made = await self._make(view, experiment)
            if await self._api.create(_config_map(name, view, made.data)):
                await self._delete_previous(view)
                return made.stored
            there = await self._api.config_map(view.namespace, name)
        data = (there or {}).get("binaryData")
        digest = await asyncio.to_thread(configmap.digest, data)
        recorded = view.plan_digest
        if recorded is None and is_owned(there or {}, view.uid):
            # The status is of an earlier version, which knew no digests.
            return await asyncio.to_thread(_of_earlier_version, view, experiment, data, digest)
        if recorded:
            if digest != recorded:
                raise MisstepError(messages.plan_replaced(name))
            return await asyncio.to_thread(_read, data, digest)
        # No status names it: an operator ended before it wrote the status, or someone else wrote the ConfigMap.
        made = await self._make(view, experiment)
        if digest != made.stored.digest:
            raise MisstepError(messages.plan_replaced(name))
        return made.stored

    async def _make(self, view: ExperimentView, experiment: Experiment) -> _NewPlan:
        name = view.uid, view.generation
        if name not in self._made:
            externals = planning.find_externals(experiment)
            read = partial(self._read_config, namespace=view.namespace)
            shapes = await asyncio.get_running_loop().run_in_executor(
                self._threads, planning.read_shapes, experiment, externals, read
            )
            async with self._planning:  # many at a time would be no faster, and take more memory
                plan = await asyncio.to_thread(planning.make_plan, experiment, externals, shapes)
                data = await asyncio.to_thread(configmap.pack, plan)
            stored = StoredPlan(plan, configmap.digest(data), len(configmap.inflate(data)))
            _cache(self._made, name, _NewPlan(stored, data), lambda each: each.stored.size)
        return self._made[name]

    async def _delete_previous(self, view: ExperimentView) -> None:
        """Delete the plan of the previous generation."""
        before = view.status.get("observedGeneration")
        if isinstance(before, int) and 0 < before < view.generation:
            await self._api.delete_config_map(view.namespace, configmap.plan_name(view.name, view.uid, before))


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


def _read(data: Mapping[str, str] | None, digest: str) -> StoredPlan:
    text = configmap.inflate(data)
    return StoredPlan(configmap.parse(text), digest, len(text))


def _of_earlier_version(
    view: ExperimentView, experiment: Experiment, data: Mapping[str, str] | None, digest: str
) -> StoredPlan:
    """Use the plan of an Experiment that an earlier version has started, so that it keeps its keys.

    Its stages must be those in the status, in the Experiment's store, and within the limits. Raises MisstepError.
    """
    found = _read(data, digest)
    keys = [entry.get("key") for entry in view.entries("stages")]
    stores: set[Storage] = {stage.storage for stage in found.plan.stages}
    if keys != [stage.key for stage in found.plan.stages] or stores != {storage_of(experiment)}:
        raise MisstepError(messages.plan_replaced(configmap.plan_name(view.name, view.uid, view.generation)))
    planning.refuse_too_many(found.plan)
    return found


def _cache(plans: dict[tuple[str, int], T], name: tuple[str, int], plan: T, size_of: Callable[[T], int]) -> None:
    while plans and sum(map(size_of, plans.values())) + size_of(plan) > _CACHE_BYTES:
        # A random one: a resync uses all plans in turn, so that the oldest would be the next one needed.
        del plans[random.choice(list(plans))]
    plans[name] = plan
