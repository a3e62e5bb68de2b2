from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts.summary import merge, plain
from misstep.errors import MisstepError

COUNTS = st.recursive(
    st.integers(-(10**12), 10**12),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)
# Names decide whether a field is a count or a mapping, so that any two summaries fit together.
SUMMARIES = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(-(10**12), 10**12),
        "reasons": st.dictionaries(st.sampled_from(["length", "repeat", "other"]), st.integers(0, 10**6)),
        "deep": st.dictionaries(
            st.sampled_from("xy"), st.dictionaries(st.sampled_from("pq"), st.integers(0, 9)), max_size=2
        ),
    },
)


def _flat(summary: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    flat: dict[tuple[str, ...], int] = {}
    for name, value in summary.items():
        if isinstance(value, dict):
            flat |= _flat(value, (*prefix, name))
        else:
            flat[*prefix, name] = value
    return flat


@given(st.lists(SUMMARIES, max_size=6))
def test_counts_are_added_wherever_they_stand(summaries: list[dict[str, Any]]) -> None:
    expected: dict[tuple[str, ...], int] = {}
    for summary in summaries:
        for path, value in _flat(summary).items():
            expected[path] = expected.get(path, 0) + value
    assert _flat(merge(summaries)) == expected


@given(st.lists(SUMMARIES, min_size=1, max_size=6), st.integers(1, 5))
def test_merging_in_two_steps_is_merging_at_once(summaries: list[dict[str, Any]], cut: int) -> None:
    assert merge([merge(summaries[:cut]), merge(summaries[cut:])]) == merge(summaries)
    assert merge(summaries[:1]) == summaries[0]


@given(SUMMARIES, st.one_of(st.text(max_size=3), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_what_is_no_count_is_kept_where_all_agree(summary: dict[str, Any], value: object) -> None:
    assert merge([{**summary, "figure": value}] * 3)["figure"] == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "x"}, {"a": "y"}),
        ({"a": 0.5}, {"a": 0.25}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": True}, {"a": False}),
        ({"a": True}, {"a": 1}),
        ({"a": "x"}, {}),
        ({"a": {"b": 1}}, {"a": 1}),
        ({"a": [1]}, {"a": [2]}),
    ],
)
def test_what_contradicts_is_named(one: dict[str, Any], other: dict[str, Any]) -> None:
    for pair in ([one, other], [other, one]):
        with pytest.raises(MisstepError, match=r"summary\.a"):
            merge(pair)
    with pytest.raises(MisstepError, match=r"summary\.deep\.a"):
        merge([{"deep": one}, {"deep": other}])


def test_equal_booleans_are_not_added() -> None:
    assert merge([{"a": True}, {"a": True}]) == {"a": True}


def test_plain_is_json() -> None:
    value = plain({"a": (1, 2.5), "b": {"c": math.nan, "d": [math.inf, None, True]}, "e": "x"})
    assert value == {"a": [1, 2.5], "b": {"c": None, "d": [None, None, True]}, "e": "x"}
    json.dumps(value, allow_nan=False)
    with pytest.raises(MisstepError, match=r"summary\.a\.b holds a set"):
        plain({"a": {"b": {1}}})
    with pytest.raises(MisstepError, match="not a string"):
        plain({"a": {1: 2}})
