"""Training rows: token ids exactly as they were sampled or tokenised, never cut and never completed.

A row that is too long is dropped and counted: cutting it would leave a solution without its end, and TRL would silently
train on rows without a completion (a constant DPO loss of ln 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of tokens that carry no loss (PyTorch's ``ignore_index``)."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class SftRow:
    """A prompt and its response in one sequence."""

    input_ids: Ids
    prompt_tokens: int

    @property
    def labels(self) -> Ids:
        """The label of each token: there is loss only on the response."""
        labels = self.input_ids.copy()
        labels[: self.prompt_tokens] = IGNORED
        return labels

    @property
    def length(self) -> int:
        """Tokens of the row's longest sequence in a batch."""
        return len(self.input_ids)

    @property
    def tokens(self) -> int:
        """Tokens that one pass over the row runs through the model, without padding."""
        return len(self.input_ids)


@dataclass(frozen=True, slots=True, eq=False)
class PairRow:
    """A prompt with a chosen and a rejected continuation. Either may be a truncated side: nothing is appended."""

    prompt_ids: Ids
    chosen_ids: Ids
    rejected_ids: Ids
    weight: float = field(default=1.0, kw_only=True)
    """How much it counts in the loss, against the other pairs: a pair of weight 2 counts like two pairs of weight 1."""

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def tokens(self) -> int:
        """Tokens of both sides, with the common prefix counted once, as it is run
        (`misstep.training.shared_prefix`)."""
        shorter = min(len(self.chosen_ids), len(self.rejected_ids))
        alike = np.cumprod(self.chosen_ids[:shorter] == self.rejected_ids[:shorter]).sum()
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids) - int(alike)


R = TypeVar("R", SftRow, PairRow)


@dataclass(frozen=True)
class Rows(Generic[R]):
    """The training rows, and the number of dropped rows by reason."""

    rows: Sequence[R]
    dropped: Mapping[str, int] = field(default_factory=dict)
    longest: int = 0
    """Tokens of the longest row, including dropped rows."""

    @property
    def dropped_rows(self) -> int:
        return sum(self.dropped.values())


def sft_rows(
    examples: Iterable[tuple[Sequence[int], Sequence[int]]], end_ids: Collection[int], max_tokens: int
) -> Rows[SftRow]:
    """Build rows from (prompt, response) pairs of token ids.

    Args:
        end_ids: the tokens that end a response. A response without one at its end, or with one elsewhere, is dropped as
            ``no-end-token`` or ``end-token-inside``: it would teach the model not to stop, or to stop early.
        max_tokens: rows with more are dropped as ``too-long``.
    """
    rows: list[SftRow] = []
    dropped: Counter[str] = Counter()
    longest = 0
    ends = frozenset(end_ids)
    for prompt, response in examples:
        longest = max(longest, len(prompt) + len(response))
        if not len(response) or response[-1] not in ends:
            dropped["no-end-token"] += 1
        elif not ends.isdisjoint(response[:-1]):
            dropped["end-token-inside"] += 1
        elif len(prompt) + len(response) > max_tokens:
            dropped["too-long"] += 1
        else:
            rows.append(SftRow(np.array([*prompt, *response], dtype=np.int32), len(prompt)))
    return Rows(rows, dict(dropped), longest)


def pair_rows(pairs: Iterable[PairRow], max_tokens: int) -> Rows[PairRow]:
    """Keep the pairs that can be trained on, unchanged.

    A pair with a side of more than ``max_tokens`` tokens, prompt included, is dropped as ``too-long``, one with an
    empty side as ``empty-side``.
    """
    rows: list[PairRow] = []
    dropped: Counter[str] = Counter()
    longest = 0
    for row in pairs:
        longest = max(longest, row.length)
        if not len(row.chosen_ids) or not len(row.rejected_ids):
            dropped["empty-side"] += 1
        elif row.length > max_tokens:
            dropped["too-long"] += 1
        else:
            rows.append(row)
    return Rows(rows, dict(dropped), longest)
