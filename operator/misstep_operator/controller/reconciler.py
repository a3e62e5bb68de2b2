"""Carry out passes: observe an Experiment, decide, act. The only state kept here can be read back at any time."""

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
from misstep_operator import messages as say
from misstep_operator.api import parse
from misstep_operator.api.kubernetes import Cluster, Refused
from misstep_operator.decision.decision import Decision, Start, reconcile
from misstep_operator.decision.status import finished_status, is_idle, refused_by_policy
from misstep_operator.jobs.job import make_job, make_service, storage_id
from misstep_operator.messages import Reason
from misstep_operator.metrics import Metrics
from misstep_operator.observed import EXPERIMENT_LABEL, ExperimentView, JobView, Observed, StoreView, Taken, Trouble
from misstep_operator.planning import planning
from misstep_operator.planning.configmaps import KeptPlan, Plans
from misstep_operator.policy import check
from misstep_operator.settings import Settings
from misstep_operator.stores.reader import Stores

_log = structlog.get_logger(__name__)
_QUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
"""Labels of an Experiment that its Jobs take over."""
_LOOKS_AT_ONCE = 16
"""As many as ``controller.py`` makes passes at a time."""
T = TypeVar("T")


@dataclass
class _Known:
    """What is remembered of an Experiment that has had a pass, until it is gone."""

    uid: str
    others: set[str] = field(default_factory=set)
    """Other operators that its events have named."""
    settled: bool = False
    """Its last pass saw it at rest, and no Job alive: none whose end is still to be counted."""


class Passes:
    """Passes over Experiments. Who asks for them sees to it that each Experiment has one at a time."""

    def __init__(self, cluster: Cluster, stores: Stores, settings: Settings, metrics: Metrics) -> None:
        self._cluster, self._stores, self._settings, self._metrics = cluster, stores, settings, metrics
        self._began = time.time()
        self._known: dict[tuple[str, str], _Known] = {}
        self._threads = ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="store")
        self._plans = Plans(cluster, stores.config, self._threads)

    async def _in_store(self, read: Callable[..., T], *given: Any) -> T:
        """Ask stores in threads of their own: however many hang, there are others to plan in and to look up names."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(read, *given))

    async def make(self, namespace: str, name: str) -> None:
        """Make one pass. Raises what the API server's client raises; the next pass starts from scratch."""
        body = await self._cluster.experiment(namespace, name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._metrics.forget(namespace, name)
            gone = self._known.pop((namespace, name), None)
            if gone is not None:
                self._plans.drop(gone.uid)
            return
        view = parse.experiment_view(body)
        known = self._known.get((namespace, name))
        if known is not None and known.uid != view.uid:
            known = None
        settled = known is None or known.settled
        reprieved = refused_by_policy(view) and isinstance(self._judged(body), Experiment)
        if is_idle(view) and not reprieved and (view.suspend or (settled and not self._metrics.lacks_results(view))):
            # An operator that starts is told of all that ever ended here: nothing is to be observed of those but
            # their results. Of one that has just ended, the last Job's end is still to be counted.
            self._metrics.rests(view)
            return
        known = self._known[namespace, name] = known or _Known(view.uid)
        with self._metrics.timed():
            await self._pass(body, known)

    def known(self) -> set[tuple[str, str]]:
        """Return namespace and name of each Experiment that is remembered; a pass over one that is gone forgets it."""
        return self._metrics.known() | self._known.keys()

    def _judged(self, body: dict[str, Any]) -> Experiment | BadInput:
        """Return an Experiment that the platform's policy allows, or what is wrong with it."""
        metadata = body["metadata"]
        try:
            experiment = planning.parse(body)
            check.refuse(experiment, metadata["namespace"], metadata.get("labels") or {}, self._settings.policy)
        except BadInput as error:
            return error
        return experiment

    async def _pass(self, body: dict[str, Any], known: _Known) -> None:
        experiment = self._judged(body)
        view = parse.experiment_view(body)
        if isinstance(experiment, Experiment):
            cluster = experiment.spec.cluster
            view = replace(view, attempts=cluster.attempts, retries=cluster.retries)
        await self._notice_others(view, body, known)
        found = experiment if isinstance(experiment, BadInput) else await self._plans.of(view, experiment)
        plan = found.plan if isinstance(found, KeptPlan) else found
        seen = await self._observe(view, plan)
        if isinstance(found, KeptPlan):
            seen = replace(seen, plan_digest=found.digest)
        decision = reconcile(seen)
        if decision.starts and isinstance(plan, Plan):
            # Asked only now, and only for what would start: who else computes it?
            taken = await self._taken(view, plan, [start.stage.key for start in decision.starts])
            if taken:
                seen = replace(seen, taken=taken)
                decision = reconcile(seen)
        refused = await self._change_jobs(decision, view, experiment, body)
        if refused:
            seen = replace(seen, refused=refused)
            decision = reconcile(seen)
        await self._say(decision, view, body)
        status = decision.status or dict(view.status)
        self._metrics.saw(view, status, seen)
        rests = is_idle(replace(view, status=status))
        known.settled = rests and not any(job.alive for job in seen.jobs)
        if rests:
            self._plans.drop(view.uid)

    async def _notice_others(self, view: ExperimentView, body: dict[str, Any], known: _Known) -> None:
        """Say, once, that another operator works on an Experiment too: they do no harm, and somebody has erred."""
        for other in parse.other_writers(body, self._settings.writer, self._began):
            if other not in known.others:
                known.others.add(other)
                text = say.another_operator(other.partition("/")[2])
                _log.warning(text, experiment=view.name, namespace=view.namespace)
                await self._cluster.tell(view, Reason.ANOTHER_OPERATOR.value, text, warning=True)

    async def _observe(self, view: ExperimentView, plan: Plan | MisstepError) -> Observed:
        # Jobs before the store: what a complete Job committed is then seen.
        jobs = await self._cluster.jobs(view.namespace, view.name)
        own = [job for job in jobs if parse.is_owned(job, view.uid)]
        now = time.time()
        alone = Observed(view, plan, parse.job_views(own, ()), now=now)
        if finished_status(alone) and not any(job.alive for job in alone.jobs):
            # Nothing will be done for it, whatever its pods and the store would say.
            if not isinstance(plan, Plan) or not self._metrics.lacks_results(view):
                return alone
            return replace(alone, store=await self._in_store(self._stores.look, plan, (), view.namespace))
        pods = await self._cluster.pods(view.namespace, view.name) if own else []
        found = parse.job_views(own, pods, now)
        without = {job["metadata"]["name"] for job in own if parse.without_pods(job, pods, now)}
        if without:
            complaints = await self._cluster.complaints(view.namespace, without)
            found = tuple(_with_trouble(job, complaints) if job.name in without else job for job in found)
        store = StoreView()
        if isinstance(plan, Plan):
            running = [job.key for job in found if job.alive]
            store = await self._in_store(self._stores.look, plan, running, view.namespace)
        return Observed(view, plan, found, store=store, now=now)

    async def _taken(self, view: ExperimentView, plan: Plan, keys: list[str]) -> dict[str, Taken]:
        """Say which of the stages another Experiment computes that this one may wait for.

        Within a namespace that is any; of another one, only where an administrator lets the two share work: whoever can
        run a Job with our labels would hold up everyone else's.
        """
        trust, settings, now = self._settings.trust, self._settings, time.time()
        everywhere = trust.shares_with_others(view.namespace, plan.storage)
        within = None if everywhere else view.namespace
        found: dict[str, Taken] = {}
        for job in await self._cluster.jobs_for(keys, storage_id(plan.storage), within):
            namespace = job["metadata"]["namespace"]
            same = namespace == view.namespace
            if parse.is_owned(job, view.uid) or not parse.computes(job, now):
                continue
            if not same and not trust.shares(view.namespace, namespace, plan.storage):
                continue
            seconds = settings.share_within_seconds if same else settings.share_between_seconds
            by = f"{namespace}/{parse.labels(job).get(EXPERIMENT_LABEL, '?')}"
            for each in parse.job_views([job], ()):
                if each.key not in found or seconds > found[each.key].seconds:
                    found[each.key] = Taken(by, seconds)
        return found

    async def _change_jobs(
        self, decision: Decision, view: ExperimentView, experiment: Experiment | BadInput, body: dict[str, Any]
    ) -> dict[str, str]:
        """End and start Jobs; return the keys of those that the API server does not take, and its words."""
        for name in decision.ends:
            await self._cluster.delete_job(view.namespace, name)
        queue = {k: v for k, v in (body["metadata"].get("labels") or {}).items() if k in _QUEUE_LABELS}
        refused = {}
        for start in decision.starts:
            assert isinstance(experiment, Experiment)
            try:
                await self._start(start, view, experiment, queue)
            except Refused as error:
                _log.warning("job refused", experiment=view.name, stage=start.stage.name, why=str(error))
                refused[start.stage.key] = str(error)
        return refused

    async def _say(self, decision: Decision, view: ExperimentView, body: dict[str, Any]) -> None:
        if decision.status is None:
            return
        version = body["metadata"]["resourceVersion"]
        if not await self._cluster.patch_status(view.namespace, view.name, version, decision.status):
            return  # someone else wrote it: the event of that leads to another pass
        for notice in decision.notices:
            await self._cluster.tell(view, notice.reason.value, notice.message, warning=notice.warning)

    async def _start(self, start: Start, view: ExperimentView, experiment: Experiment, queue: dict[str, str]) -> None:
        spec, stage = experiment.spec, start.stage
        service = make_service(view, stage)
        if service is not None:
            await self._cluster.create(service)
        job = make_job(view, stage, start.attempt, spec.cluster, spec.secrets, self._settings, queue)
        if await self._cluster.create(job):
            _log.info("job created", experiment=view.name, stage=stage.name, attempt=start.attempt)


def _with_trouble(job: JobView, complaints: Mapping[str, str]) -> JobView:
    why = complaints.get(job.name)
    return replace(job, trouble=Trouble("FailedCreate", why)) if why else job
