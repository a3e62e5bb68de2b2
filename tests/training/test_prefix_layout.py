"""Packed batches of pairs: nothing is lost or duplicated, and every token attends only to its own row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from misstep.training.prefix_layout import Layout, cut_blocks, plan_layout

side = st.lists(st.integers(3, 5), min_size=1, max_size=7)
pair = st.tuples(st.lists(st.integers(3, 5), max_size=5), side, side)
PAD = 0


def batch_of(pairs: list[tuple[list[int], list[int], list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    rows = [prompt + chosen for prompt, chosen, _ in pairs] + [prompt + rejected for prompt, _, rejected in pairs]
    lengths = np.array([len(row) for row in rows])
    ids = np.full((len(rows), lengths.max()), PAD)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids, lengths


def seen(layout: Layout) -> dict[int, set[int]]:
    """The slots that each slot attends to, block by block as the attention goes."""
    found: dict[int, set[int]] = {}
    first = 0
    for block in layout.blocks:
        branches = first + block.rows * block.trunk_width
        visible = block.visible()
        assert visible.shape == (block.rows, block.branch_width, block.prefix_width + block.branch_width)
        for row in range(block.rows):
            trunk = first + row * block.trunk_width
            own = branches + row * block.branch_width
            for query in range(block.trunk_width):
                found[trunk + query] = set(range(trunk, trunk + query + 1))
            keys = [*range(trunk, trunk + block.prefix_width), *range(own, own + block.branch_width)]
            for query in range(block.branch_width):
                found[own + query] = {key for key, sees in zip(keys, visible[row, query], strict=True) if sees}
        first += sum(block.sizes)
    assert sorted(found) == list(range(len(layout.source)))
    return found


@given(st.lists(pair, min_size=1, max_size=9), st.integers(-1, 6), st.integers(0, 40))
def test_a_packed_batch_is_the_batch(pairs: list[tuple[list[int], list[int], list[int]]], least: int, block: int):
    ids, lengths = batch_of(pairs)
    layout = plan_layout(ids, lengths, lambda shared, behind: least >= 0 and shared >= least, block)
    sees = seen(layout)
    for row, length in enumerate(lengths):
        slots = layout.slots[row]
        assert (slots[length:] == -1).all()
        assert (ids.ravel()[layout.source[slots[:length]]] == ids[row, :length]).all()
        assert (layout.positions[slots[:length]] == np.arange(length)).all()
        for position in range(length):
            assert sees[slots[position]] == set(slots[: position + 1].tolist())
    first, second = np.split(layout.slots, 2)
    for left, right, one, other in zip(first, second, *np.split(ids, 2), strict=True):
        alike = int((one[: len(one)] == other).cumprod()[: min((left >= 0).sum(), (right >= 0).sum())].sum())
        shares = least >= 0 and alike and alike >= least
        assert len({*left[left >= 0]} & {*right[right >= 0]}) == (alike if shares else 0)
    used = {slot for slot in layout.slots.ravel().tolist() if slot >= 0}
    assert all(0 <= position < ids.shape[1] for position in layout.positions)
    assert len(used) <= len(layout.source)


def test_a_prompt_is_stored_once_and_the_rejected_side_continues_it():
    ids, lengths = batch_of([([7, 8, 9], [4, 5, 6], [5, 4])])
    layout = plan_layout(ids, lengths, lambda shared, behind: True, 0)
    assert ids.ravel()[layout.source].tolist() == [7, 8, 9, 4, 5, 6, 5, 4]
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 5, 3, 4]
    assert layout.blocks[0].visible().astype(int).tolist() == [[[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]


def test_a_side_that_the_other_begins_with_takes_no_slot():
    ids, lengths = batch_of([([7, 8], [4], [4, 5, 6])])
    layout = plan_layout(ids, lengths, lambda shared, behind: True, 0)
    assert ids.ravel()[layout.source].tolist() == [7, 8, 4, 5, 6]
    assert layout.slots[0].tolist() == [0, 1, 2, -1, -1]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=9), st.integers(0, 60))
def test_blocks_cost_no_more_than_any_other_cut(sizes: list[tuple[int, int]], block: int):
    trunks, branches = np.array(sorted(sizes, reverse=True)).T

    def cost(cuts: list[tuple[int, int]]) -> int:
        return sum((b - a) * int(trunks[a] + branches[a:b].max()) + block for a, b in cuts)

    found = cut_blocks(trunks, branches, block)
    assert [index for a, b in found for index in range(a, b)] == list(range(len(trunks)))
    others = []
    for chosen in range(2 ** (len(trunks) - 1)):
        cuts = [0, *[i for i in range(1, len(trunks)) if chosen >> (i - 1) & 1], len(trunks)]
        others.append(cost(list(pairwise(cuts))))
    assert cost(found) == min(others)


def test_no_rows_make_no_blocks():
    assert cut_blocks(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 32) == []
