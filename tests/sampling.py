"""Select the long tests of a pytest run; tests/conftest.py registers this with pytest.

Some tests take minutes together, so an ordinary run has a sample of them, drawn again each day:

- ``@pytest.mark.faults(seconds=40)``: a fault that must be survived, and what it costs. The sample is as large as fits
  into a budget. ``MISSTEP_FAULTS=all`` runs every one, and at full length.
- ``@pytest.mark.sweep(keep=2)``: one check of many cases. The sample has so many of them. ``MISSTEP_SWEEPS=all`` runs
  every case.

A run that names tests or files, or has ``-k``, has all of those, faults at the length of a sample.
``MISSTEP_SAMPLE_SEED`` draws a sample again.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

SEED, BUDGET_SECONDS = "MISSTEP_SAMPLE_SEED", 150.0
ALL = {"faults": "make faults", "sweep": "make sweeps"}
"""Marker -> the command that runs all tests that carry it."""
_LEFT_OUT = pytest.StashKey[dict[str, tuple[int, int]]]()


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(SEED, f"{datetime.now(UTC):%Y%m%d}")  # workers of pytest-xdist inherit it


def pytest_report_header(config: pytest.Config) -> str:
    what = {marker: "all that are asked for" if _all_wanted(config, marker) else "a sample" for marker in ALL}
    return f"faults: {what['faults']}; sweeps: {what['sweep']}; {SEED}={os.environ[SEED]}"


def draw(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the faults and the cases of sweeps that this run does not have."""
    gone: set[pytest.Item] = set()
    left_out = {}
    for marker in ALL:
        marked = {item.nodeid: item for item in items if item.get_closest_marker(marker)}
        if not marked or _all_wanted(config, marker):
            continue
        if marker == "faults":
            costs = {name: float(_argument(item, marker, "seconds")) for name, item in marked.items()}
            chosen = sample(costs, os.environ[SEED], BUDGET_SECONDS)
        else:
            keep = {name.partition("[")[0]: int(_argument(item, marker, "keep")) for name, item in marked.items()}
            chosen = cases(marked, keep, os.environ[SEED])
        gone |= {item for name, item in marked.items() if name not in chosen}
        left_out[marker] = len(chosen), len(marked)
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=[*gone])
    config.stash[_LEFT_OUT] = left_out


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return [
        f"{marker}: {chosen} of {there}, drawn by {SEED}={os.environ[SEED]}; all of them: {ALL[marker]}"
        for marker, (chosen, there) in config.stash.get(_LEFT_OUT, {}).items()
    ]


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


def cases(names: Iterable[str], keep: dict[str, int], seed: str) -> set[str]:
    """Choose cases of each sweep by chance.

    Args:
        names: of tests, each a sweep's name and its case in brackets.
        keep: how many cases of each sweep; all of one that has fewer.
    """
    sweeps: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        sweeps[name.partition("[")[0]].append(name)
    return {
        name
        for sweep, there in sweeps.items()
        for name in random.Random(f"{seed} {sweep}").sample(there, min(keep[sweep], len(there)))
    }


def _argument(item: pytest.Item, marker: str, name: str) -> float:
    found = item.get_closest_marker(marker)
    assert found is not None
    value: float = found.kwargs[name]
    return value


def _all_wanted(config: pytest.Config, marker: str) -> bool:
    variable = {"faults": "MISSTEP_FAULTS", "sweep": "MISSTEP_SWEEPS"}[marker]
    return os.environ.get(variable) == "all" or named(config.args) or bool(config.option.keyword)


def named(arguments: list[str]) -> bool:
    """Return whether a run names tests or files, and not only folders."""
    return any("::" in argument or argument.endswith(".py") for argument in arguments)
