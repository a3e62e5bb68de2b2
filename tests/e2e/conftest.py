"""One installation for all tests here: loading the images takes minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.life import Cluster
from tests.e2e.installed import Installed, installed


@pytest.fixture(scope="session")
def world(node: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(node, tmp_path_factory.mktemp("e2e")) as found:
        yield found
