"""Choice of a setting by its mean accuracy over seeds. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal


@dataclass(frozen=True)
class Mean:
    """A mean over seeds."""

    value: float
    error: float | None
    """Its standard error; None with one seed."""


@dataclass(frozen=True)
class Edge:
    """A field whose best value is the smallest or the largest that was tried: a better one may be outside the range."""

    field: str
    side: Literal["lowest", "highest"]


@dataclass(frozen=True)
class Choice:
    """The best setting, and how certain that is."""

    best: int
    second: int | None
    """The best of the others; None if there are none."""
    told_apart: bool | None
    """Whether the 95% interval of the difference between the two excludes zero; None with one seed, or without a
    second."""
    edges: tuple[Edge, ...]


def mean(by_seed: Sequence[float]) -> Mean:
    """Return the mean over seeds and its standard error: the standard deviation (n - 1) over the square root of n.

    Raises:
        statistics.StatisticsError: there are no values.
    """
    error = stdev(by_seed) / math.sqrt(len(by_seed)) if len(by_seed) > 1 else None
    return Mean(fmean(by_seed), error)


def choose(
    by_setting: Sequence[Sequence[float]], settings: Sequence[Mapping[str, Any]], lists: Mapping[str, Sequence[Any]]
) -> Choice:
    """Choose the setting with the best mean accuracy; among equal ones the first.

    Args:
        by_setting: shape (settings, seeds); every setting has the same seeds in the same order.
        settings: field -> value of each.
        lists: the values that were tried of each field.

    Returns:
        The choice. The best two are compared by the paired t interval of their difference over seeds, n - 1 degrees of
        freedom. It is too narrow, since it ignores that the best was chosen among many.
    """
    means = [fmean(accuracies) for accuracies in by_setting]
    best = max(range(len(means)), key=lambda i: (means[i], -i))
    others = [i for i in range(len(means)) if i != best]
    second = max(others, key=lambda i: (means[i], -i), default=None)
    apart = None if second is None else told_apart(by_setting[best], by_setting[second])
    return Choice(best, second, apart, _edges(settings[best], lists))


def told_apart(one: Sequence[float], other: Sequence[float]) -> bool | None:
    """Return whether two settings differ, by the paired 95% t interval over seeds; None with one seed."""
    from scipy.stats import t

    difference = mean([a - b for a, b in zip(one, other, strict=True)])
    if difference.error is None:
        return None
    half = float(t.ppf(0.975, len(one) - 1)) * difference.error
    return abs(difference.value) > half


def _edges(best: Mapping[str, Any], lists: Mapping[str, Sequence[Any]]) -> tuple[Edge, ...]:
    """Numeric fields with several values whose best is the smallest or the largest, unless nothing is beyond it (0, or
    1 for a count)."""
    found: list[Edge] = []
    for field, value in best.items():
        tried = lists[field]
        if len(tried) < 2 or isinstance(value, str | bool):
            continue
        least = 1 if isinstance(value, int) else 0
        if value == max(tried):
            found.append(Edge(field, "highest"))
        elif value == min(tried) and value > least:
            found.append(Edge(field, "lowest"))
    return tuple(found)
