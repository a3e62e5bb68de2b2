"""Distribute and order tests over pytest-xdist's workers: hooks that tests/conftest.py registers with pytest."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/e2e/", "tests/cluster/test_faults_")
"""What shares one installation, which takes minutes, or one cluster with nothing of others on it."""


def scope_of(nodeid: str) -> str:
    """Return what runs on one worker: a file, or all of one installation."""
    return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid.partition("::")[0])


def longest_first(items: list[pytest.Item]) -> None:
    """Begin with what has the most slow tests, so that no worker is left with it at the end."""
    slow = Counter(scope_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[scope_of(item.nodeid)])


class _Scopes(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _Scopes(config, log)
