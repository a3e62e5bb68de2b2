"""The choice of a setting: the best mean, the first of equals, and the notes on it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.search.choose import Edge, choose, mean, told_apart

accuracy = st.integers(0, 4000).map(lambda right: right / 4000)


@st.composite
def tables(draw: st.DrawFn) -> list[list[float]]:
    seeds = draw(st.integers(1, 5))
    return draw(st.lists(st.lists(accuracy, min_size=seeds, max_size=seeds), min_size=1, max_size=8))


@given(tables())
def test_the_best_mean_wins_and_the_first_of_equals(table: list[list[float]]) -> None:
    choice = choose(table, [{"beta": float(i)} for i in range(len(table))], {"beta": list(range(len(table)))})
    means = [mean(row).value for row in table]
    assert means[choice.best] == max(means)
    assert choice.best == means.index(max(means))
    if len(table) == 1:
        assert choice.second is None and choice.told_apart is None and choice.edges == ()
        return
    assert choice.second is not None and choice.second != choice.best
    assert means[choice.second] == max(m for i, m in enumerate(means) if i != choice.best)
    if len(table[0]) == 1:
        assert choice.told_apart is None


@given(tables(), st.randoms())
def test_the_order_of_seeds_changes_nothing(table: list[list[float]], chance: Any) -> None:
    order = list(range(len(table[0])))
    chance.shuffle(order)
    settings: list[dict[str, Any]] = [{} for _ in table]
    assert choose([[row[i] for i in order] for row in table], settings, {}) == choose(table, settings, {})


def test_the_standard_error_is_that_of_a_mean() -> None:
    found = mean([0.2, 0.4, 0.6])
    assert found.value == pytest.approx(0.4)
    assert found.error == pytest.approx(0.2 / 3**0.5)
    assert mean([0.3]).error is None


def test_two_settings_are_compared_seed_by_seed_by_students_t() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.0577; t(2) at 97.5% is 4.303.
    assert told_apart([0.6, 0.3, 0.5], [0.5, 0.1, 0.2]) is False
    # 0.19, 0.2, 0.21: standard error 0.00577.
    assert told_apart([0.69, 0.3, 0.41], [0.5, 0.1, 0.2]) is True
    assert told_apart([0.5, 0.5], [0.5, 0.5]) is False
    assert told_apart([0.9], [0.1]) is None


def test_a_best_value_at_the_edge_of_its_list_is_named_unless_nothing_lies_beyond() -> None:
    lists: dict[str, list[Any]] = {
        "learning_rate": [1e-3, 1e-4, 3e-4],
        "nll_weight": [0.5, 0.0],
        "epochs": [1, 2],
        "beta": [0.1],
        "schedule": ["constant", "linear"],
        "with_teacher": [True, False],
        "batch_size": [16, 64, 32],
    }
    settings = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]

    def edges(**wanted: Any) -> set[Edge]:
        rows = [[float(all(one[k] == v for k, v in wanted.items()))] for one in settings]
        return set(choose(rows, settings, lists).edges)

    low = edges(learning_rate=1e-4, nll_weight=0.0, epochs=1, batch_size=16)
    assert low == {Edge("learning_rate", "lowest"), Edge("batch_size", "lowest")}
    high = edges(learning_rate=1e-3, nll_weight=0.5, epochs=2, batch_size=64)
    assert high == {Edge(field, "highest") for field in ("learning_rate", "nll_weight", "epochs", "batch_size")}
    assert edges(learning_rate=3e-4, nll_weight=0.0, epochs=1, batch_size=32) == set()
