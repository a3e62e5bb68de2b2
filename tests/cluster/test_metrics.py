"""A real Prometheus scrapes a real operator and real stages while an Experiment runs; the dashboards have data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.artifacts import servers
from tests.cluster.operating import Operating, experiment, operating
from tests.cluster.scraping import Prometheus, prometheus, stage_relabelings

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NOTHING_TO_SHOW = {
    "GPUs held by stages": "no pod here asks for a GPU: a rate of zero is data, see below",
}


@dataclass(frozen=True)
class Run:
    """An Experiment that has run to its report."""

    world: Operating
    prometheus: Prometheus
    began: float
    ended: float


@pytest.fixture(scope="module")
def run(control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("metrics")
    with servers.versitygw(folder / "s3") as endpoint, operating(control_plane, endpoint, folder) as world:
        world.environment["MISSTEP_STAGE_METRICS_PORT"] = "9090"
        world.start_operator()
        targets = {"files": [str(folder / "pods/targets/*.json")], "refresh_interval": "1s"}
        scrape = [
            {
                "job_name": "operator",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{world.metrics_port}"]}],
            },
            {"job_name": "stages", "file_sd_configs": [targets], "relabel_configs": stage_relabelings()},
        ]
        with prometheus(folder / "prometheus", scrape) as found:
            began = time.time()
            world.apply(experiment(endpoint, "measured"))
            world.wait_for_state("measured", "Succeeded")
            time.sleep(2)
            yield Run(world, found, began, time.time())


def test_every_query_of_the_dashboards_has_data(run: Run) -> None:
    lacking = run.prometheus.without_data(run.began, run.ended)
    assert {query.panel for query in lacking} == set(NOTHING_TO_SHOW), lacking
