"""Settings of all tests: the same hypothesis examples in every CI run, and no deadlines on machines that are busy."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.fixtures import audit_log, control_plane, node
from tests.sampling import (
    draw,
    pytest_configure,
    pytest_report_collectionfinish,
    pytest_report_header,
)
from tests.scheduling import longest_first, pytest_xdist_make_scheduler

__all__ = [
    "audit_log",
    "control_plane",
    "node",
    "pytest_configure",
    "pytest_report_collectionfinish",
    "pytest_report_header",
    "pytest_xdist_make_scheduler",
]

settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("any"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "any")


@pytest.hookimpl(trylast=True)  # what -m and -k leave out is gone
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    draw(config, items)
    if config.pluginmanager.hasplugin("_cov"):  # --cov: measuring slows our own code by a factor of three
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker("no_cover")
    longest_first(items)
