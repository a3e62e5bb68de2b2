"""The operator's metrics, made at scrape time from the last status of each Experiment."""

from __future__ import annotations

import re
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric

import misstep
from misstep.plan.planner import Plan
from misstep.plan.state import StageState
from misstep_operator.decision.stage_states import count_of
from misstep_operator.decision.status import State
from misstep_operator.job_metrics import JobMetrics
from misstep_operator.messages import STORE_READABLE
from misstep_operator.observed import ExperimentView, Observed

_UNKNOWN = "Unknown"
_STAGE_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")

# Without this each counter has a second series, with its time of creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass
class _Summary:
    """The parts of a status that metrics need, checked: anyone may have edited the status or the store."""

    state: str
    counts: Mapping[str, int]
    """State -> number of stages."""
    attempts: Mapping[str, int]
    """Running stage -> number of its Job."""
    readable: bool | None
    """None where the operator may not read the store."""
    fractions: Mapping[str, float]
    """Stage -> share of its work that is done, as precisely as heartbeats say: an alert asks whether it changes."""
    accuracies: Mapping[tuple[str, str], float]


def _no_ages() -> tuple[float, float]:
    return 0.0, 0.0


class Metrics:
    """All metrics of one operator, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._last: dict[tuple[str, str], _Summary] = {}
        self._jobs = JobMetrics(self.registry)
        self._reconcile_seconds = Histogram(
            "misstep_reconcile_duration_seconds", "Time to reconcile one Experiment once.", registry=self.registry
        )
        self.errors = Counter("misstep_reconcile_errors", "Reconciler that ended in an error.", registry=self.registry)
        self.resync = Gauge(
            "misstep_last_resync_timestamp_seconds", "When all Experiments were last listed.", registry=self.registry
        )
        self.leader = Gauge(
            "misstep_operator_leader",
            "1 while this operator holds the Lease. A standby has 0, and no series of Experiments.",
            registry=self.registry,
        )
        self.ages: Callable[[], tuple[float, float]] = _no_ages
        """Returns the age of the oldest reconcile, and of the oldest entry in the queue, in seconds."""
        build = Gauge("misstep_build_info", "1, with the operator's version.", ["version"], registry=self.registry)
        build.labels(misstep.__version__).set(1)
        self.registry.register(self)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time a reconcile."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._reconcile_seconds.observe(time.perf_counter() - started)

    def record(self, view: ExperimentView, status: Mapping[str, Any], observed: Observed) -> None:
        """Record the result of a reconcile."""
        store = observed.store
        found = store.accuracies or (self._results(view) if status.get("state") == State.SUCCEEDED else {})
        readable = None if store.unlisted else not store.error
        self._last[view.namespace, view.name] = _summary(
            replace(view, status=status), readable, _fractions(observed), found
        )
        self._jobs.record(view, observed)

    def lacks_results(self, view: ExperimentView) -> bool:
        """Return whether an Experiment has succeeded and its accuracies are not known here yet."""
        return view.status.get("state") == State.SUCCEEDED and not self._results(view)

    def _results(self, view: ExperimentView) -> Mapping[tuple[str, str], float]:
        last = self._last.get((view.namespace, view.name))
        return last.accuracies if last else {}

    def record_idle(self, view: ExperimentView) -> None:
        """Record an Experiment that need not be reconciled."""
        store = next((c for c in view.entries("conditions") if c.get("type") == STORE_READABLE), {})
        readable = {"False": False, "Unknown": None}.get(str(store.get("status")), True)
        self._last[view.namespace, view.name] = _summary(view, readable, {}, self._results(view))

    def forget(self, namespace: str, name: str) -> None:
        """Remove a deleted Experiment."""
        self._last.pop((namespace, name), None)
        self._jobs.forget(namespace, name)

    def stand_by(self) -> None:
        """Remove all Experiments and ages: another operator reports them from now on."""
        self.leader.set(0)
        self.ages = _no_ages
        for experiment in self.known():
            self.forget(*experiment)

    def known(self) -> set[tuple[str, str]]:
        """Return namespace and name of each Experiment that is remembered."""
        return set(self._last)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that are made from statuses."""
        states = Counts(last.state for last in self._last.values())
        family = GaugeMetricFamily("misstep_experiments", "Experiments by state.", labels=["state"])
        for state, count in sorted(states.items()):
            family.add_metric([state], count)
        yield family
        each = ["namespace", "experiment"]
        stages = GaugeMetricFamily("misstep_experiment_stages", "Stages by state.", labels=[*each, "state"])
        progress = GaugeMetricFamily(
            "misstep_stage_progress_ratio", "Share of a running stage's work that is done.", labels=[*each, "stage"]
        )
        attempts = GaugeMetricFamily(
            "misstep_stage_attempts", "Number of Jobs that a running stage has had.", labels=[*each, "stage"]
        )
        readable = GaugeMetricFamily(
            "misstep_store_readable", "1 if the operator can read the store, 0 if it cannot.", labels=each
        )
        accuracies = GaugeMetricFamily(
            "misstep_experiment_accuracy_ratio",
            "Accuracy on the test problems, for Experiments with a report.",
            labels=[*each, "arm", "size"],
        )
        for (namespace, name), last in sorted(self._last.items()):
            for state, count in sorted(last.counts.items()):
                stages.add_metric([namespace, name, state], count)
            for stage, attempt in last.attempts.items():
                progress.add_metric([namespace, name, stage], last.fractions.get(stage, 0.0))
                attempts.add_metric([namespace, name, stage], attempt)
            if last.readable is not None:
                readable.add_metric([namespace, name], float(last.readable))
            for (arm, size), accuracy in sorted(last.accuracies.items()):
                accuracies.add_metric([namespace, name, arm, size], accuracy)
        successes = GaugeMetricFamily(
            "misstep_stage_last_success_timestamp_seconds", "When a Job of the Experiment last completed.", labels=each
        )
        for namespace, name, when in self._jobs.last_successes():
            successes.add_metric([namespace, name], when)
        ages = GaugeMetricFamily(
            "misstep_oldest_reconcile_seconds",
            "Age of the oldest reconcile, and of the oldest entry in the queue.",
            labels=["state"],
        )
        for state, age in zip(("working", "waiting"), self.ages(), strict=True):
            ages.add_metric([state], age)
        yield ages
        yield from (stages, progress, attempts, readable, successes, accuracies)


def _fractions(observed: Observed) -> dict[str, float]:
    if not isinstance(observed.plan, Plan):
        return {}
    stages = ((stage, observed.store.heartbeats.get(stage.key, [])) for stage in observed.plan.stages)
    return {
        stage.name: min(1.0, sum(heartbeat.fraction for heartbeat in heartbeats) / stage.shards)
        for stage, heartbeats in stages
        if heartbeats
    }


def _summary(
    view: ExperimentView,
    readable: bool | None,
    fractions: Mapping[str, float],
    accuracies: Mapping[tuple[str, str], float],
) -> _Summary:
    """Return the parts of a status that metrics need. Other values count as unknown: anyone may have edited it."""
    entries = view.entries("stages")
    running = (entry for entry in entries if entry.get("state") == StageState.RUNNING)
    attempts = {
        entry["name"]: count_of(entry.get("attempt"))
        for entry in running
        if isinstance(entry.get("name"), str) and _STAGE_NAME.fullmatch(entry["name"])
    }
    state = view.status.get("state") or "New"
    return _Summary(
        state=state if state in (*State, "New") else _UNKNOWN,
        counts=Counts(StageState.parse(entry.get("state")).value for entry in entries),
        attempts=attempts,
        readable=readable,
        fractions=fractions,
        accuracies=accuracies,
    )
