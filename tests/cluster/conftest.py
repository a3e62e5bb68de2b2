"""The setup of tests of faults: a cluster with a node of processes and an S3 server, without an operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.faults import Undisturbed
from tests.cluster.fixtures import own_control_plane
from tests.cluster.operating import Operating, operating
from tests.store import servers


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    """Operators are started by each test, with settings of its own; Experiments have stores of their own.

    The control plane is no other test's: faults break it, and another operator would do this one's work.
    """
    folder = tmp_path_factory.mktemp("faults")
    servers.versitygw_binary()
    with (
        own_control_plane(folder) as kubeconfig,
        servers.versitygw(folder / "s3") as endpoint,
        operating(kubeconfig, endpoint, folder, "faults") as world,
    ):
        yield world


@pytest.fixture(scope="session")
def undisturbed(ground: Operating) -> Undisturbed:
    return Undisturbed(ground)


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch)
