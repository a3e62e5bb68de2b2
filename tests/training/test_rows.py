from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.training.rows import IGNORED, PairRow, pair_rows, sft_rows

END, OTHER_END = 1, 2
words = st.lists(st.integers(3, 9), max_size=6)


def int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def pair(prompt, chosen, rejected):
    return PairRow(int32(*prompt), int32(*chosen), int32(*rejected))


def test_the_loss_is_on_the_response_alone():
    (row,) = sft_rows([([5, 6], [7, END])], {END}, 10).rows
    assert row.input_ids.tolist() == [5, 6, 7, END]
    assert row.labels.tolist() == [IGNORED, IGNORED, 7, END]


@given(st.lists(st.tuples(words, words, st.booleans()), min_size=1), st.integers(4, 12))
def test_every_row_ends_with_its_only_end_token(examples, limit):
    given_rows = [(prompt, [*response, END] if ends else response) for prompt, response, ends in examples]
    fitting = [e for e in given_rows if e[1][-1:] == [END] and len(e[0]) + len(e[1]) <= limit]
    found = sft_rows(given_rows, {END, OTHER_END}, limit)
    assert [(r.input_ids.tolist(), r.prompt_tokens) for r in found.rows] == [(p + r, len(p)) for p, r in fitting]
    assert all(Counter(row.labels.tolist())[END] == 1 and row.labels[-1] == END for row in found.rows)
    assert len(found.rows) + sum(found.dropped.values()) == len(examples)


def test_what_is_dropped_is_counted_by_its_reason():
    examples = [([3], [4, END]), ([3], [4]), ([3], []), ([3], [4, END, 5, END]), ([3] * 9, [4, END])]
    found = sft_rows(examples, {END}, 8)
    assert len(found.rows) == 1
    assert found.dropped == {"no-end-token": 2, "end-token-inside": 1, "too-long": 1}


def test_any_of_the_models_end_tokens_ends_a_response():
    assert len(sft_rows([([3], [4, OTHER_END])], {END, OTHER_END}, 8).rows) == 1


def test_the_longest_row_is_known_though_it_was_dropped():
    found = sft_rows([([3, 4, 5], [6, END]), ([3], [END])], {END}, 3)
    assert (found.longest, found.dropped_rows) == (5, 1)
    pairs = pair_rows([pair((3, 4), (5, END), (6,)), pair((3,), (4,), (5,))], 3)
    assert (pairs.longest, pairs.dropped_rows) == (4, 1)


def test_no_rows_at_all_are_no_error():
    assert sft_rows([], {END}, 3).rows == []
    assert pair_rows([], 3).rows == []


@pytest.mark.parametrize(
    ("chosen", "rejected", "tokens"),
    [((5, 6), (7, 6), 2 + 4), ((5, 6, 7), (5, 8), 2 + 1 + 3), ((5, 6), (5, 6, 7, 8), 2 + 4), ((5, 6), (5, 6), 2 + 2)],
)
def test_what_both_sides_of_a_pair_begin_with_counts_once(chosen, rejected, tokens):
    (row,) = pair_rows([pair((3, 4), chosen, rejected)], 8).rows
    assert row.tokens == tokens


def test_pairs_are_taken_as_they_are():
    prompt, truncated, whole = int32(3, 4), int32(5), int32(6, END)
    sides = [(whole, truncated), (truncated, int32()), (whole, int32(*[7] * 9))]
    found = pair_rows([PairRow(prompt, *both, weight=0.5) for both in sides], 8)
    (row,) = found.rows
    assert (row.prompt_ids is prompt, row.chosen_ids is whole, row.rejected_ids is truncated) == (True, True, True)
    assert (row.length, row.tokens, row.weight) == (4, 5, 0.5)
    assert found.dropped == {"empty-side": 1, "too-long": 1}
