"""What Prometheus reads: made at scrape time from the last status of each Experiment, gone when that is gone."""

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
from misstep_operator.decision.stage_states import StageState, number_of
from misstep_operator.decision.status import State
from misstep_operator.job_metrics import Accounts
from misstep_operator.messages import STORE_READABLE
from misstep_operator.observed import ExperimentView, Observed

_UNKNOWN = "Unknown"
_STAGE_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")

# A second series beside each counter, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass
class _Last:
    """What is remembered of a status: what metrics need, and nothing that a hand or a store has put there unchecked."""

    state: str
    counts: Mapping[str, int]
    """State -> how many stages."""
    attempts: Mapping[str, int]
    """Stage that runs -> which Job of it."""
    readable: bool | None
    """None where the operator does not look."""
    fractions: Mapping[str, float]
    """Stage -> how far it is, as finely as heartbeats say: an alert asks whether it moves."""
    accuracies: Mapping[tuple[str, str], float]


def _none_at_work() -> tuple[float, float]:
    return 0.0, 0.0


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._last: dict[tuple[str, str], _Last] = {}
        self._accounts = Accounts(self.registry)
        self._pass_seconds = Histogram(
            "misstep_reconcile_duration_seconds", "Time of one pass over one Experiment.", registry=self.registry
        )
        self.errors = Counter("misstep_reconcile_errors", "Passes that ended in an error.", registry=self.registry)
        self.resync = Gauge(
            "misstep_last_resync_timestamp_seconds", "When all Experiments were last listed.", registry=self.registry
        )
        self.leader = Gauge(
            "misstep_operator_leader",
            "1 while this operator is the one that works; a standby has 0, and no series of Experiments.",
            registry=self.registry,
        )
        self.ages: Callable[[], tuple[float, float]] = _none_at_work
        """Returns the age of the oldest pass at work, and of the oldest request for one, in seconds."""
        build = Gauge("misstep_build_info", "1, with the operator's version.", ["version"], registry=self.registry)
        build.labels(misstep.__version__).set(1)
        self.registry.register(self)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time a pass."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._pass_seconds.observe(time.perf_counter() - began)

    def saw(self, view: ExperimentView, status: Mapping[str, Any], seen: Observed) -> None:
        """Note what a pass came to."""
        store = seen.store
        found = store.accuracies or (self._results(view) if status.get("state") == State.SUCCEEDED else {})
        readable = None if store.unlisted else not store.error
        self._last[view.namespace, view.name] = _last(replace(view, status=status), readable, _fractions(seen), found)
        self._accounts.saw(view, seen)

    def lacks_results(self, view: ExperimentView) -> bool:
        """Tell whether an Experiment has succeeded and its accuracies are not known here yet."""
        return view.status.get("state") == State.SUCCEEDED and not self._results(view)

    def _results(self, view: ExperimentView) -> Mapping[tuple[str, str], float]:
        last = self._last.get((view.namespace, view.name))
        return last.accuracies if last else {}

    def rests(self, view: ExperimentView) -> None:
        """Note an Experiment that needs no pass."""
        store = next((c for c in view.entries("conditions") if c.get("type") == STORE_READABLE), {})
        readable = {"False": False, "Unknown": None}.get(str(store.get("status")), True)
        self._last[view.namespace, view.name] = _last(view, readable, {}, self._results(view))

    def forget(self, namespace: str, name: str) -> None:
        """Drop a deleted Experiment."""
        self._last.pop((namespace, name), None)
        self._accounts.forget(namespace, name)

    def stand_by(self) -> None:
        """Drop all Experiments and passes: another operator tells of them from now on."""
        self.leader.set(0)
        self.ages = _none_at_work
        for experiment in self.known():
            self.forget(*experiment)

    def known(self) -> set[tuple[str, str]]:
        """Return namespace and name of each Experiment that is remembered."""
        return set(self._last)

    def collect(self) -> Iterator[Metric]:
        """Yield the families that follow from statuses."""
        states = Counts(last.state for last in self._last.values())
        family = GaugeMetricFamily("misstep_experiments", "Experiments by state.", labels=["state"])
        for state, count in sorted(states.items()):
            family.add_metric([state], count)
        yield family
        each = ["namespace", "experiment"]
        stages = GaugeMetricFamily("misstep_experiment_stages", "Stages by state.", labels=[*each, "state"])
        progress = GaugeMetricFamily(
            "misstep_stage_progress_ratio", "How far a stage is that runs.", labels=[*each, "stage"]
        )
        attempts = GaugeMetricFamily("misstep_stage_attempts", "Jobs that a stage has had.", labels=[*each, "stage"])
        readable = GaugeMetricFamily(
            "misstep_store_readable", "1 if the operator reads the store, 0 if it cannot.", labels=each
        )
        accuracies = GaugeMetricFamily(
            "misstep_experiment_accuracy_ratio",
            "Accuracy on the test problems, of Experiments that have a report.",
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
            "misstep_stage_last_success_timestamp_seconds", "When a Job of it last completed.", labels=each
        )
        for namespace, name, when in self._accounts.successes():
            successes.add_metric([namespace, name], when)
        ages = GaugeMetricFamily(
            "misstep_oldest_pass_seconds",
            "Age of the oldest pass that is at work, and for how long the oldest that is asked for has waited.",
            labels=["state"],
        )
        for state, age in zip(("working", "waiting"), self.ages(), strict=True):
            ages.add_metric([state], age)
        yield ages
        yield from (stages, progress, attempts, readable, successes, accuracies)


def _fractions(seen: Observed) -> dict[str, float]:
    if not isinstance(seen.plan, Plan):
        return {}
    stages = ((stage, seen.store.beats.get(stage.key, [])) for stage in seen.plan.stages)
    return {
        stage.name: min(1.0, sum(beat.fraction for beat in beats) / stage.shards) for stage, beats in stages if beats
    }


def _last(
    view: ExperimentView,
    readable: bool | None,
    fractions: Mapping[str, float],
    accuracies: Mapping[tuple[str, str], float],
) -> _Last:
    """Keep what metrics need of a status; whatever is odd in it counts as unknown, for a hand may have written it."""
    entries = view.entries("stages")
    running = (entry for entry in entries if entry.get("state") == StageState.RUNNING)
    attempts = {
        entry["name"]: number_of(entry.get("attempt"))
        for entry in running
        if isinstance(entry.get("name"), str) and _STAGE_NAME.fullmatch(entry["name"])
    }
    state = view.status.get("state") or "New"
    return _Last(
        state=state if state in (*State, "New") else _UNKNOWN,
        counts=Counts(str(s) if (s := entry.get("state")) in tuple(StageState) else _UNKNOWN for entry in entries),
        attempts=attempts,
        readable=readable,
        fractions=fractions,
        accuracies=accuracies,
    )
