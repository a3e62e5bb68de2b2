"""The token layout of a batch of pairs in which the common prefix of a pair is stored once.

The longer row of a pair is a trunk, stored whole. Of the other row only the part after the common prefix is stored, as
a branch of that trunk. arXiv 2410.20305 joins both sides after their prompt; here the common prefix may extend into the
sides. Pairs of similar lengths form a block: a rectangle of trunks, then one of branches, each as wide as its longest
row, so that attention runs on views. All blocks together are one sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Worth = Callable[[int, int], bool]
"""Whether to store a common prefix once: from its number of tokens and the number of tokens after it in the shorter
row."""

_BORDERS = 32
"""Blocks begin at one of this many places in a batch: searching more costs more than it saves."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Trunks of one width and, if ``branch_width`` is above 0, a branch of each after them."""

    rows: int
    trunk_width: int
    branch_width: int
    shared: Ints
    """How many tokens of its trunk each branch follows, (rows,)."""

    @property
    def prefix_width(self) -> int:
        return int(self.shared.max())

    @property
    def sizes(self) -> list[int]:
        """Slots of the trunks and of the branches, if any."""
        return [self.rows * width for width in (self.trunk_width, self.branch_width) if width]

    def visible(self) -> npt.NDArray[np.bool_]:
        """What branches attend to, (rows, branch width, prefix width + branch width).

        The first columns are the first tokens of the trunk, the others the branch's own tokens.
        """
        prefix = np.arange(self.prefix_width) < self.shared[:, None, None]
        own = np.tri(self.branch_width, dtype=np.bool_)[None]
        tall = (self.rows, self.branch_width)
        return np.concatenate(
            [np.broadcast_to(prefix, (*tall, self.prefix_width)), np.broadcast_to(own, (*tall, self.branch_width))], 2
        )


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A batch (rows, width) as one sequence of slots, blocks one after another."""

    blocks: Sequence[Block]
    source: Ints
    """The token of the flattened batch in each slot, (slots,); any token for padding."""
    positions: Ints
    """Each slot's position in its row, (slots,)."""
    slots: Ints
    """The slot of each token of the batch, (rows, width); -1 for padding."""


def plan_layout(ids: Ints, lengths: Ints, worth: Worth, block_tokens: int) -> Layout:
    """Lay out a batch of pairs.

    Args:
        ids: (2 x pairs, width), padded on the right; rows i and ``pairs + i`` are the sides of pair i.
        lengths: tokens of each row, (2 x pairs,), none 0.
        worth: if it returns False, both rows of a pair are stored whole.
        block_tokens: the cost of an additional block, in tokens.
    """
    pairs, width = len(ids) // 2, ids.shape[1]
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    swapped = lengths[first] < lengths[second]
    longer, shorter = np.where(swapped, second, first), np.where(swapped, first, second)
    columns = np.arange(width)
    shared = ((ids[first] == ids[second]) & (columns < lengths[shorter][:, None])).cumprod(1).sum(1)
    behind = lengths[shorter] - shared
    joined = np.array([p > 0 and worth(p, s) for p, s in zip(shared.tolist(), behind.tolist(), strict=True)])
    branching = joined & (behind > 0)

    slots = np.full(ids.shape, -1, dtype=np.int64)
    blocks, rows_of, positions = [], [], []
    filled = 0

    def place(rows: Ints, starts: Ints, wide: int) -> None:
        """Assign the next slots to ``wide`` columns of each row from its start on."""
        nonlocal filled
        at = starts[:, None] + np.arange(wide)
        row, column = np.nonzero(at < lengths[rows][:, None])
        slots[rows[row], at[row, column]] = filled + row * wide + column
        rows_of.append(rows.repeat(wide))
        positions.append(np.minimum(at, width - 1).ravel())
        filled += at.size

    whole = np.concatenate([longer[~branching], shorter[~joined]])
    nothing = np.zeros(len(whole), dtype=np.int64)
    for trunks, branches, starts, tails in (
        (longer[branching], shorter[branching], shared[branching], behind[branching]),
        (whole, whole, nothing, nothing),
    ):
        order = np.lexsort((-tails, -lengths[trunks]))
        for begin, end in cut_blocks(lengths[trunks][order], tails[order], block_tokens):
            part = order[begin:end]
            block = Block(end - begin, int(lengths[trunks[part]].max()), int(tails[part].max()), starts[part])
            place(trunks[part], np.zeros_like(starts[part]), block.trunk_width)
            if block.branch_width:
                place(branches[part], starts[part], block.branch_width)
            blocks.append(block)
    pair, column = np.nonzero((columns < shared[:, None]) & joined[:, None])
    slots[shorter[pair], column] = slots[longer[pair], column]
    at = np.concatenate(positions)
    return Layout(blocks, np.concatenate(rows_of) * width + at, at, slots)


def cut_blocks(trunks: Ints, branches: Ints, block_tokens: int) -> list[tuple[int, int]]:
    """Split pairs, longest trunk first, into blocks [start, end) with the smallest total cost of slots and blocks.

    Optimal among boundaries at multiples of a 32nd of the pairs, by dynamic programming.
    """
    step = max(1, -(-len(trunks) // _BORDERS))
    borders = [*range(0, len(trunks), step), len(trunks)]
    cheapest, start_of = [0], [0]
    for end in range(1, len(borders)):
        costs = []
        widest = 0
        for start in range(end - 1, -1, -1):
            widest = max(widest, int(branches[borders[start] : borders[start + 1]].max()))
            rows = borders[end] - borders[start]
            costs.append((cheapest[start] + rows * (int(trunks[borders[start]]) + widest) + block_tokens, start))
        cost, start = min(costs)
        cheapest.append(cost)
        start_of.append(start)
    blocks = []
    end = len(borders) - 1
    while end:
        blocks.append((borders[start_of[end]], borders[end]))
        end = start_of[end]
    return blocks[::-1]
