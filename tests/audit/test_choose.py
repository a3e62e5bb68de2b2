from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.audit.choose import Name, Sampler, shares
from misstep.audit.only import Only

SIZES = st.dictionaries(st.text(max_size=3), st.integers(1, 50), max_size=8)


@given(SIZES, st.integers(1, 100))
def test_shares_use_the_whole_count_and_are_as_even_as_sizes_allow(sizes: dict[str, int], count: int) -> None:
    given_ = shares(sizes, count)
    assert sum(given_.values()) == min(count, sum(sizes.values()))
    assert all(0 <= given_[group] <= size for group, size in sizes.items())
    cut = [given_[group] for group, size in sizes.items() if given_[group] < size]
    assert not cut or max(given_.values()) - min(cut) <= 1
    if count >= len(sizes):
        assert all(given_.values())


def test_the_rarest_groups_come_first_where_there_is_no_room_for_all() -> None:
    assert shares({"common": 90, "rare": 1, "usual": 5}, 2) == {"common": 0, "rare": 1, "usual": 1}
    assert shares({}, 3) == {}


Row = tuple[str, str, int]
ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=2), st.integers(0, 9)), unique=True, max_size=60)


@given(ROWS, st.integers(1, 20), st.randoms())
def test_a_sample_depends_on_no_order_and_holds_the_smaller_ones(rows: list[Row], count: int, random: Random) -> None:
    def choose(rows: list[Row], count: int) -> dict[str, tuple[Name, ...]]:
        sampler = Sampler[str](count)
        for group, problem, sample in rows:
            sampler.offer(group, f"stage-{group}", problem, sample)
        chosen = sampler.chosen()
        assert chosen.seen == Counter(group for group, _, _ in rows)
        return dict(chosen.names)

    mixed = random.sample(rows, len(rows))
    ours = choose(rows, count)
    assert choose(mixed, count) == ours
    larger = choose(rows, count + 5)
    for group, names in ours.items():
        assert larger[group][: len(names)] == names
        assert {name.stage for name in names} <= {f"stage-{group}"}


def test_text_that_is_no_unicode_has_a_hash_too() -> None:
    sampler = Sampler[str](1)
    sampler.offer("all", "stage", "\ud800", 0)
    assert len(sampler.chosen().names["all"]) == 1
    with pytest.raises(ValueError, match="at least one"):
        Sampler(0)


@pytest.mark.parametrize(
    ("only", "pit", "true_pit", "certainty", "target", "wanted"),
    [
        (Only.PIT, 1, None, None, None, True),
        (Only.PIT, None, None, None, None, False),
        (Only.NO_PIT, None, 2, None, None, True),
        (Only.UNCERTAIN, 2, None, 0.7, 0.2, True),
        (Only.UNCERTAIN, 2, None, 0.8, 0.2, False),
        (Only.UNCERTAIN, 2, None, 0.7, None, False),
        (Only.UNCERTAIN, 2, None, None, None, False),
        (Only.UNCERTAIN, None, None, 0.1, 0.2, False),
        (Only.DIFFERS, 2, 3, None, None, True),
        (Only.DIFFERS, None, 3, None, None, True),
        (Only.DIFFERS, 3, 3, None, None, False),
        (Only.DIFFERS, 3, None, None, None, False),
    ],
)
def test_only(
    only: Only, pit: int | None, true_pit: int | None, certainty: float | None, target: float | None, wanted: bool
) -> None:
    assert only.wants(pit, true_pit, certainty, target) is wanted
    assert only.words
