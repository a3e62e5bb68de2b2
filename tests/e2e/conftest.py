"""One installation for all tests here: loading the images takes minutes. A Prometheus watches it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.life import Cluster
from tests.cluster.scraping import Prometheus, prometheus
from tests.e2e.discovery import targets
from tests.e2e.installed import Installed, installed


@pytest.fixture(scope="session")
def world(node: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(node, tmp_path_factory.mktemp("e2e")) as found:
        yield found


@pytest.fixture(scope="module")
def monitoring(world: Installed) -> Iterator[Prometheus]:
    """Scrapes the operator and stages, as the chart's monitors would have it."""
    with (
        targets(world, world.folder / "targets") as scrape,
        prometheus(world.folder / "prometheus", scrape) as found,
    ):
        yield found
