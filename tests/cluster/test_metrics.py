"""A real Prometheus scrapes a real operator and real stages while an Experiment runs; the dashboards have data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.operating import Operating, operating
from tests.cluster.scraping import Prometheus, prometheus, stage_relabelings
from tests.cluster.world import NAMESPACE
from tests.store import servers

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Run:
    """An Experiment that has run to its report, and one that has failed."""

    world: Operating
    prometheus: Prometheus
    began: float
    ended: float

    @property
    def operator(self) -> str:
        """Where the operator answers."""
        return f"127.0.0.1:{self.world.ports[self.world.operators[-1].pid]}"


@pytest.fixture(scope="module")
def run(control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("metrics")
    with servers.versitygw(folder / "s3") as endpoint, operating(control_plane, endpoint, folder, fork=False) as world:
        world.environment["MISSTEP_STAGE_METRICS_PORT"] = "9090"
        port = world.ports[world.start_operator().pid]
        targets = {"files": [str(folder / "pods/targets/*.json")], "refresh_interval": "1s"}
        scrape: list[dict[str, Any]] = [
            {
                "job_name": "operator",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            },
            {"job_name": "stages", "file_sd_configs": [targets], "relabel_configs": stage_relabelings()},
        ]
        with prometheus(folder / "prometheus", scrape) as found:
            began = time.time()
            # Training long enough that no scrape can miss it, in steps small enough that mistakes are left for pairs.
            longer = {"training__sft__epochs": 120, "training__sft__learningRate": "1e-4"}
            longer |= {"training__dpo__epochs": 60, "training__dpo__learningRate": "3e-5"}
            world.apply(world.experiment("measured", **longer))
            world.wait_for_state("measured", "Succeeded", 900)
            too_long = {"template": "1 " * 200 + "{question}\n"}
            world.apply(world.experiment("refused", seeds=[1], policy__prompt=too_long))
            world.wait_for_state("refused", "Failed", 300)
            time.sleep(3)
            yield Run(world, found, began, time.time())


def test_every_query_of_the_dashboards_has_data(run: Run) -> None:
    """GPU time among them: no pod here asks for one, and zero is data."""
    assert run.prometheus.without_data(run.began, run.ended) == []


def test_counts_are_those_of_the_experiment(run: Run) -> None:
    ask = run.prometheus.now
    done = {labels["kind"]: value for labels, value in ask("misstep_stage_duration_seconds_count > 0")}
    # The refused Experiment has a prompt of its own, so that its model was checked too.
    assert sum(done.values()) == len(run.world.status("measured")["stages"]) + 1
    assert done["inspect"] == 2
    assert ask("misstep_stage_failures_total > 0") == [
        (
            {
                "__name__": "misstep_stage_failures_total",
                "instance": run.operator,
                "job": "operator",
                "kind": "sft",
                "reason": "PodFailurePolicy",
            },
            1.0,
        )
    ]
    assert ask('misstep_experiments{state="Failed"}')[0][1] == 1
    assert {labels["alertname"] for labels, _ in ask("ALERTS")} == {"MisstepExperimentFailed"}


def test_results_are_those_of_the_report(run: Run) -> None:
    found = run.prometheus.now("misstep_experiment_accuracy_ratio")
    assert {(labels["experiment"], labels["arm"], labels["size"]) for labels, _ in found} == {
        ("measured", "sft", "32"),
        ("measured", "dpo", "32"),
    }
    assert all(0 <= accuracy <= 1 for _, accuracy in found)


def test_stages_are_known_by_kind_experiment_and_stage(run: Run) -> None:
    """By the relabellings of the chart's PodMonitor. Only training is sure to last from one scrape to the next: what
    shorter stages count is all counted at their end, and may never be seen (docs/limits.md)."""
    series = run.prometheus.over("misstep_training_tokens_total", run.began, run.ended)
    assert {labels["namespace"] for labels, _ in series} == {NAMESPACE}
    assert all(labels["pod"].startswith(f"{labels['kind']}-") for labels, _ in series)
    trained = {labels["stage"]: max(values) for labels, values in series if labels["experiment"] == "measured"}
    training = {e["name"]: e["kind"] for e in run.world.status("measured")["stages"] if e["kind"] in ("sft", "dpo")}
    assert {stage for stage, tokens in trained.items() if tokens} == set(training)
    objectives = run.prometheus.over("misstep_training_loss", run.began, run.ended)
    assert {(labels["stage"], labels["objective"]) for labels, _ in objectives} == set(training.items())
