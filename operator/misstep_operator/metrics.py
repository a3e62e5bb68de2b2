"""What Prometheus reads: made at scrape time from the last status of each Experiment, gone when that is gone."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

import misstep
from misstep.errors import BadInput
from misstep_operator.conditions import STORE_READABLE
from misstep_operator.observed import ExperimentView, JobState, Observed

_MINUTES = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


@dataclass
class _Last:
    status: Mapping[str, Any]
    readable: bool
    fractions: Mapping[str, float]
    """Stage -> how far it is, as finely as heartbeats say: an alert asks whether it moves."""


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._last: dict[tuple[str, str], _Last] = {}
        self._counted: set[tuple[str, str]] = set()
        self._pass_seconds = Histogram(
            "misstep_reconcile_duration_seconds", "Time of one pass over one Experiment.", registry=self.registry
        )
        self.errors = Counter("misstep_reconcile_errors", "Passes that ended in an error.", registry=self.registry)
        self.resync = Gauge(
            "misstep_last_resync_timestamp_seconds", "When all Experiments were last listed.", registry=self.registry
        )
        self._stage_seconds = Histogram(
            "misstep_stage_duration_seconds",
            "Time from a Job's start to its completion.",
            ["kind"],
            buckets=_MINUTES,
            registry=self.registry,
        )
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
        self._last[view.namespace, view.name] = _Last(status, not seen.store.error, _fractions(seen))
        for job in seen.jobs:
            done = job.state is JobState.COMPLETE and job.started is not None and job.ended is not None
            if done and (view.uid, job.name) not in self._counted:
                self._counted.add((view.uid, job.name))
                assert job.started is not None and job.ended is not None
                self._stage_seconds.labels(job.key.rpartition("-")[0]).observe(job.ended - job.started)

    def rests(self, view: ExperimentView) -> None:
        """Note an Experiment that needs no pass."""
        store = next((c for c in view.entries("conditions") if c.get("type") == STORE_READABLE), {})
        self._last[view.namespace, view.name] = _Last(view.status, store.get("status") != "False", {})

    def forget(self, namespace: str, name: str) -> None:
        """Drop a deleted Experiment."""
        self._last.pop((namespace, name), None)

    def keep_only(self, names: set[tuple[str, str]]) -> None:
        """Drop all but these (namespace, name)."""
        self._last = {name: last for name, last in self._last.items() if name in names}

    def collect(self) -> Iterator[Metric]:
        """Yield the families that follow from statuses."""
        states = Counts(str(last.status.get("state") or "New") for last in self._last.values())
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
        readable = GaugeMetricFamily("misstep_store_readable", "1 if the operator reads the store.", labels=each)
        for (namespace, name), last in sorted(self._last.items()):
            entries = last.status.get("stages") or ()
            for state, count in sorted(Counts(str(entry.get("state")) for entry in entries).items()):
                stages.add_metric([namespace, name, state], count)
            for entry in entries:
                if entry.get("state") == "running":
                    progress.add_metric([namespace, name, entry["name"]], last.fractions.get(entry["name"], 0.0))
                    attempts.add_metric([namespace, name, entry["name"]], entry.get("attempt", 0))
            readable.add_metric([namespace, name], float(last.readable))
        yield from (stages, progress, attempts, readable)


def _fractions(seen: Observed) -> dict[str, float]:
    if isinstance(seen.plan, BadInput):
        return {}
    stages = ((stage, seen.store.beats.get(stage.key, [])) for stage in seen.plan.stages)
    return {stage.name: sum(beat.fraction for beat in beats) / stage.shards for stage, beats in stages if beats}
