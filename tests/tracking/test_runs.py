from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from misstep.tracking.runs import Logged, News, Row, Run, Table

NAMES = st.sets(st.sampled_from(["a", "b", "c"]), min_size=1)
ROWS = st.dictionaries(st.integers(1, 60), NAMES, max_size=10).map(
    lambda found: tuple(Row(step, dict.fromkeys(names, 1.0)) for step, names in sorted(found.items()))
)
"""Rows in rising order of steps."""
KILLS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=8)
"""For each process: how many rows the stage has made, and how many the process logs before it is killed."""


@given(ROWS, KILLS)
def test_whatever_is_killed_and_whoever_goes_on_each_point_is_logged_once(
    rows: tuple[Row, ...], kills: list[tuple[int, int]]
) -> None:
    points: Counter[tuple[str, int]] = Counter()
    steps: dict[str, int] = {}
    for made, taken in [*kills, (len(rows), len(rows))]:
        news = Logged(steps=dict(steps)).missing_of(Run("id", "name", "id", "sft", rows=rows[:made]))
        for row in news.rows[:taken]:
            points.update((name, row.step) for name in row.values)
            steps |= dict.fromkeys(row.values, row.step)
    assert points == Counter((name, row.step) for row in rows for name in row.values)
    assert not Logged(steps=steps).missing_of(Run("id", "name", "id", "sft", rows=rows))


def test_what_a_tracker_took_is_not_missing() -> None:
    run = Run(
        "i", "n", "g", "sft", rows=(Row(1, {"a": 1.0}), Row(2, {"a": 2.0, "b": 3.0})), facts={"f": 1.0}, finished=True
    )
    news = Logged().missing_of(run)
    assert news == News(run.rows, {"f": 1.0}, {}, finished=True)
    assert not Logged().plus(news).missing_of(run)


def test_a_floor_holds_for_all_names() -> None:
    run = Run("i", "n", "g", "sft", rows=(Row(1, {"a": 1.0}), Row(2, {"b": 2.0})))
    assert Logged(floor=1).missing_of(run).rows == (Row(2, {"b": 2.0}),)


def test_a_table_keeps_its_cells_in_markdown() -> None:
    assert Table(("a", "b"), (("x|y", "1"),)).as_markdown() == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"
