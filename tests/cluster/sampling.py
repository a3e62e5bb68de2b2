"""Which faults a run of pytest meets; shown to pytest by tests/conftest.py.

Tests of faults take minutes together, so that an ordinary run has a sample of them, drawn anew each day:
``@pytest.mark.faults(seconds=40)`` says what a test costs, and the sample is as large as fits into a budget.
``MISSTEP_FAULTS=all`` runs every one, and at full length. A run that names tests or files of them, or has ``-k``, runs
those, at the length of a sample. A sample is drawn again by ``MISSTEP_FAULTS_SEED``.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime

import pytest

SEED, BUDGET_SECONDS = "MISSTEP_FAULTS_SEED", 150.0
ALL = "MISSTEP_FAULTS=all pytest -m faults tests/cluster tests/training tests/e2e"
_LEFT_OUT = pytest.StashKey[tuple[int, int]]()


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(SEED, f"{datetime.now(UTC):%Y%m%d}")  # workers of pytest-xdist inherit it


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: {'all that are asked for' if _all_wanted(config) else 'a sample'}, {SEED}={os.environ[SEED]}"


def draw(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the faults that this run does not meet."""
    faults = [item for item in items if item.get_closest_marker("faults")]
    if not faults or _all_wanted(config):
        return
    costs = {item.nodeid: _seconds(item) for item in faults}
    chosen = sample(costs, os.environ[SEED], BUDGET_SECONDS)
    dropped = [item for item in faults if item.nodeid not in chosen]
    gone = set(dropped)
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=dropped)
    config.stash[_LEFT_OUT] = len(dropped), len(faults)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    if _LEFT_OUT not in config.stash:
        return []
    dropped, faults = config.stash[_LEFT_OUT]
    return [f"faults: {faults - dropped} of {faults}, drawn by {SEED}={os.environ[SEED]}; all of them: {ALL}"]


def sample(costs: dict[str, float], seed: str, budget: float) -> set[str]:
    """Choose tests by chance, one after another, leaving out what does not fit into the budget any more.

    Args:
        costs: seconds of each test.
    """
    names = sorted(costs)
    random.Random(seed).shuffle(names)
    chosen: set[str] = set()
    for name in names:
        if costs[name] <= budget:
            chosen.add(name)
            budget -= costs[name]
    return chosen


def _seconds(item: pytest.Item) -> float:
    marker = item.get_closest_marker("faults")
    return float(marker.kwargs.get("seconds", 60)) if marker else 0.0


def _all_wanted(config: pytest.Config) -> bool:
    return os.environ.get("MISSTEP_FAULTS") == "all" or named(config.args) or bool(config.option.keyword)


def named(arguments: list[str]) -> bool:
    """Tell whether a run names tests or files, and not only folders."""
    return any("::" in argument or argument.endswith(".py") for argument in arguments)
