"""Settings of all tests: the same hypothesis examples in every CI run, and no deadlines on machines that are busy."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.cluster.fixtures import audit_log, control_plane, node

__all__ = ["audit_log", "control_plane", "node"]

settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("any"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "any")


INSTALLATION = "tests/e2e"


def scope_of(nodeid: str) -> str:
    """What runs on one worker: a file, and all of tests/e2e, where what is installed took minutes to load."""
    return INSTALLATION if nodeid.startswith(f"{INSTALLATION}/") else nodeid.partition("::")[0]


class _Scopes(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _Scopes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what has the most slow tests, so that no worker is left with it at the end."""
    slow = Counter(scope_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[scope_of(item.nodeid)])
