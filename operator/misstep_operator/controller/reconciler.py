"""Reconcile an Experiment: observe it, decide, act. All that is remembered here can be read again at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import structlog

from misstep.errors import BadInput, MisstepError
from misstep.plan.planner import Plan
from misstep.spec.experiment import Experiment
from misstep_operator import messages
from misstep_operator.api import parse
from misstep_operator.api.client import ApiError
from misstep_operator.api.kubernetes import KubernetesApi, Refused
from misstep_operator.decision.decision import Decision, NewJob, decide
from misstep_operator.decision.status import finished_status, is_idle, refused_by_policy
from misstep_operator.jobs.follower import make_follower, why_not_tracked
from misstep_operator.jobs.job import make_job, make_service, storage_id
from misstep_operator.messages import Reason
from misstep_operator.metrics import Metrics
from misstep_operator.observed import (
    EXPERIMENT_LABEL,
    ComputedElsewhere,
    ExperimentView,
    JobView,
    Observed,
    PodProblem,
    StoreView,
)
from misstep_operator.planning import planning
from misstep_operator.planning.configmaps import PlanConfigMaps, StoredPlan
from misstep_operator.policy import check
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import StoreReader

_log = structlog.get_logger(__name__)
_QUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
"""Labels of an Experiment that its Jobs get too."""
_STORE_THREADS = 16
"""As many as ``controller.py`` has workers."""
T = TypeVar("T")


@dataclass
class _Memory:
    """What is remembered of an Experiment until it is deleted."""

    uid: str
    others: set[str] = field(default_factory=set)
    """Other operators that an event has already named."""
    settled: bool = False
    """It was idle last time, and no Job was alive: all ends of Jobs have been counted."""


class Reconciler:
    """Reconciles Experiments. The caller sees to it that each is reconciled by one worker at a time."""

    def __init__(self, api: KubernetesApi, stores: StoreReader, settings: Settings, metrics: Metrics) -> None:
        self._api, self._stores, self._settings, self._metrics = api, stores, settings, metrics
        self._started = time.time()
        self._memory: dict[tuple[str, str], _Memory] = {}
        self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="store")
        self._plans = PlanConfigMaps(api, stores.read_model_config, self._threads)

    async def _in_store(self, read: Callable[..., T], *arguments: Any) -> T:
        """Read stores in threads of their own. However many hang, others are left for planning and for DNS."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(read, *arguments))

    async def reconcile(self, namespace: str, name: str) -> None:
        """Reconcile one Experiment. Raises what the API client raises; the next call starts again."""
        body = await self._api.experiment(namespace, name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._metrics.forget(namespace, name)
            gone = self._memory.pop((namespace, name), None)
            if gone is not None:
                self._plans.forget(gone.uid)
            return
        view = parse.experiment_view(body)
        memory = self._memory.get((namespace, name))
        if memory is not None and memory.uid != view.uid:
            memory = None
        settled = memory is None or memory.settled
        now_allowed = refused_by_policy(view) and isinstance(self._check(body), Experiment)
        if is_idle(view) and not now_allowed and (view.suspend or (settled and not self._metrics.lacks_results(view))):
            # A starting operator hears of every finished Experiment, and needs nothing of those but their results. Of
            # one that has just finished, the end of the last Job is still to be counted.
            self._metrics.record_idle(view)
            return
        memory = self._memory[namespace, name] = memory or _Memory(view.uid)
        with self._metrics.timed():
            await self._reconcile(body, memory)

    def known(self) -> set[tuple[str, str]]:
        """Return namespace and name of each Experiment that is remembered. Reconciling a deleted one forgets it."""
        return self._metrics.known() | self._memory.keys()

    def _check(self, body: dict[str, Any]) -> Experiment | BadInput:
        """Return a valid Experiment that the platform's policy allows, or what is wrong with it."""
        metadata = body["metadata"]
        try:
            experiment = planning.parse(body)
            check.refuse(experiment, metadata["namespace"], metadata.get("labels") or {}, self._settings.policy)
        except BadInput as error:
            return error
        return experiment

    async def _reconcile(self, body: dict[str, Any], memory: _Memory) -> None:
        experiment = self._check(body)
        view = parse.experiment_view(body)
        if isinstance(experiment, Experiment):
            cluster = experiment.spec.cluster
            view = replace(view, attempts=cluster.attempts, retries=cluster.retries)
            view = self._with_trackers(view, experiment)
        await self._warn_of_other_operators(view, body, memory)
        found = experiment if isinstance(experiment, BadInput) else await self._plans.get(view, experiment)
        plan = found.plan if isinstance(found, StoredPlan) else found
        observed = await self._observe(view, plan)
        if isinstance(found, StoredPlan):
            observed = replace(observed, plan_digest=found.digest)
        decision = decide(observed)
        if decision.jobs_to_create and isinstance(plan, Plan):
            # A request for the few stages that would start now.
            elsewhere = await self._computed_elsewhere(view, plan, [job.stage.key for job in decision.jobs_to_create])
            if elsewhere:
                observed = replace(observed, elsewhere=elsewhere)
                decision = decide(observed)
        refused = await self._change_jobs(decision, view, experiment, body)
        if refused:
            observed = replace(observed, refused=refused)
            decision = decide(observed)
        await self._write_status(decision, view, body)
        status = decision.status or dict(view.status)
        self._metrics.record(view, status, observed)
        idle = is_idle(replace(view, status=status))
        memory.settled = idle and not any(job.alive for job in observed.jobs)
        if idle:
            self._plans.forget(view.uid)

    async def _warn_of_other_operators(self, view: ExperimentView, body: dict[str, Any], memory: _Memory) -> None:
        """Post one event for each other operator that works on an Experiment: it does no harm, but is a mistake."""
        for other in parse.other_writers(body, self._settings.writer, self._started):
            if other not in memory.others:
                memory.others.add(other)
                text = messages.another_operator(other.partition("/")[2])
                _log.warning(text, experiment=view.name, namespace=view.namespace)
                await self._api.post_event(view, Reason.ANOTHER_OPERATOR.value, text, warning=True)

    async def _observe(self, view: ExperimentView, plan: Plan | MisstepError) -> Observed:
        # Jobs before the store, so that the result of a complete Job is seen.
        jobs = await self._api.jobs(view.namespace, view.name)
        own = [job for job in jobs if parse.is_owned(job, view.uid)]
        now = time.time()
        jobs_only = Observed(view, plan, parse.job_views(own, ()), now=now, followers=parse.follower_views(own, ()))
        if finished_status(jobs_only) and not any(job.alive for job in jobs_only.jobs):
            # There is nothing to do, so its pods and its store do not matter.
            if not isinstance(plan, Plan) or not self._metrics.lacks_results(view):
                return jobs_only
            return replace(jobs_only, store=await self._in_store(self._stores.read, plan, (), view.namespace))
        pods = await self._api.pods(view.namespace, view.name) if own else []
        views, followers = parse.job_views(own, pods, now), parse.follower_views(own, pods)
        without_pods = {job["metadata"]["name"] for job in own if parse.lacks_pods(job, pods, now)}
        if without_pods:
            warnings = await self._api.last_warnings(view.namespace, without_pods)
            views = tuple(_with_problem(job, warnings) if job.name in without_pods else job for job in views)
            followers = tuple(replace(each, trouble=warnings.get(each.name, each.trouble)) for each in followers)
        store = StoreView()
        if isinstance(plan, Plan):
            running = [job.key for job in views if job.alive]
            store = await self._in_store(self._stores.read, plan, running, view.namespace)
        return replace(jobs_only, jobs=views, store=store, followers=followers)

    async def _computed_elsewhere(
        self, view: ExperimentView, plan: Plan, keys: list[str]
    ) -> dict[str, ComputedElsewhere]:
        """Return the stages that another Experiment computes for which this one may wait.

        In the same namespace that is any Experiment. In another namespace it is one for which an administrator has
        allowed it: else anyone who may create Jobs with the operator's labels could delay everyone's stages.
        """
        trust, settings, now = self._settings.trust, self._settings, time.time()
        everywhere = trust.shares_with_others(view.namespace, plan.storage)
        within = None if everywhere else view.namespace
        found: dict[str, ComputedElsewhere] = {}
        for job in await self._api.jobs_with_keys(keys, storage_id(plan.storage), within):
            namespace = job["metadata"]["namespace"]
            same = namespace == view.namespace
            if parse.is_owned(job, view.uid) or not parse.is_computing(job, now):
                continue
            if not same and not trust.shares(view.namespace, namespace, plan.storage):
                continue
            seconds = settings.share_within_seconds if same else settings.share_between_seconds
            by = f"{namespace}/{parse.labels(job).get(EXPERIMENT_LABEL, '?')}"
            for each in parse.job_views([job], ()):
                if each.key not in found or seconds > found[each.key].seconds:
                    found[each.key] = ComputedElsewhere(by, seconds)
        return found

    async def _change_jobs(
        self, decision: Decision, view: ExperimentView, experiment: Experiment | BadInput, body: dict[str, Any]
    ) -> dict[str, str]:
        """Delete and create Jobs. Return the stages' keys and the trackers of those that the API server refuses, with
        its messages."""
        for name in decision.jobs_to_delete:
            await self._api.delete_job(view.namespace, name)
        queue = {k: v for k, v in (body["metadata"].get("labels") or {}).items() if k in _QUEUE_LABELS}
        refused = {}
        for job in decision.jobs_to_create:
            assert isinstance(experiment, Experiment)
            try:
                await self._create_job(job, view, experiment, queue)
            except Refused as error:
                _log.warning("job refused", experiment=view.name, stage=job.stage.name, error=str(error))
                refused[job.stage.key] = str(error)
        for tracker in decision.followers_to_create:  # after those of stages, which a quota may leave no room
            assert isinstance(experiment, Experiment)
            try:
                await self._api.create(make_follower(view, tracker, experiment, self._settings))
            except (Refused, ApiError) as error:
                _log.warning("follower refused", experiment=view.name, tracker=tracker, error=str(error))
                refused[tracker] = messages.follower_refused(str(error))
        return refused

    def _with_trackers(self, view: ExperimentView, experiment: Experiment) -> ExperimentView:
        """Add into which trackers pods can log."""
        held = self._settings.policy.rule(view.namespace)
        not_tracked = why_not_tracked(experiment, held[1] if held else None, self._settings)
        names = tuple(name for name in experiment.spec.tracking.names if name not in not_tracked)
        return replace(view, trackers=names, not_tracked=not_tracked)

    async def _write_status(self, decision: Decision, view: ExperimentView, body: dict[str, Any]) -> None:
        if decision.status is None:
            return
        version = body["metadata"]["resourceVersion"]
        if not await self._api.patch_status(view.namespace, view.name, version, decision.status):
            return  # the Experiment has changed, and the event of that reconciles it again
        for event in decision.events:
            await self._api.post_event(view, event.reason.value, event.message, warning=event.warning)

    async def _create_job(
        self, new: NewJob, view: ExperimentView, experiment: Experiment, queue: dict[str, str]
    ) -> None:
        spec, stage = experiment.spec, new.stage
        service = make_service(view, stage)
        if service is not None:
            await self._api.create(service)
        job = make_job(view, stage, new.attempt, spec.cluster, spec.secrets, self._settings, queue)
        if await self._api.create(job):
            _log.info("job created", experiment=view.name, stage=stage.name, attempt=new.attempt)


def _with_problem(job: JobView, warnings: Mapping[str, str]) -> JobView:
    message = warnings.get(job.name)
    return replace(job, problem=PodProblem("FailedCreate", message)) if message else job
