"""A Kubernetes for tests, from cluster/. tests/conftest.py shows these fixtures to all tests.

A test that uses one carries ``@pytest.mark.cluster``. Each worker of pytest-xdist has clusters of its own, which end
with it, even when it is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import life
from cluster.life import Cluster
from cluster.node import check_machine
from cluster.places import ClusterError, missing_binaries

GIVEN = "MISSTEP_TEST_KUBECONFIG"
"""Variable that names the kubeconfig of a running cluster to use instead of starting one."""


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kubeconfig of an API server with controllers and scheduler, and without a node unless one is given."""
    if GIVEN in os.environ:
        yield Path(os.environ[GIVEN])
        return
    with own_control_plane(tmp_path_factory.mktemp("control-plane")) as kubeconfig:
        yield kubeconfig


@contextmanager
def own_control_plane(folder: Path) -> Iterator[Path]:
    """Start an API server with controllers and scheduler for the block, or skip the test; yield its kubeconfig."""
    if missing := missing_binaries(*life.CONTROL_PLANE):
        pytest.skip(missing)
    state = folder / "state"
    yield life.up(state, with_node=False, audit_log=folder / "audit.log", follow=True).kubeconfig
    life.down(state)


@pytest.fixture(scope="session")
def audit_log(control_plane: Path) -> Path:
    """File in which ``control_plane`` has written every request that it answered, as lines of JSON."""
    if GIVEN in os.environ:
        pytest.skip(f"a cluster given by {GIVEN} has its audit log elsewhere")
    return control_plane.parents[2] / "audit.log"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose pods run: the one of ``make cluster`` where its kubeconfig is given, else a new one."""
    if GIVEN in os.environ:
        try:
            given = life.find(Path(os.environ[GIVEN]).absolute().parents[1])
        except ClusterError:
            pytest.skip(f"the cluster given by {GIVEN} is none of cluster/, so there is no way to load images into it")
        if given.node is None:
            pytest.skip(f"the cluster given by {GIVEN} has no node: `make cluster` starts one that has")
        yield given
        return
    if missing := missing_binaries(*life.CONTROL_PLANE, *life.NODE):
        pytest.skip(missing)
    state = tmp_path_factory.mktemp("node") / "state"
    try:
        check_machine(state)
    except ClusterError as error:
        pytest.skip(str(error))
    yield life.up(state, with_node=True, follow=True)
    life.down(state)
