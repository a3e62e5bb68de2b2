"""Keys and values of rows of any length in fixed buffers, and the attention that reads them.

Column j of a row's buffer holds position j of its text. So rows of different lengths need no padding on the left, join
and leave one by one, and share only the width that is read. The attention is registered with transformers under
`ATTENTION`. A model whose attention needs a feature that it lacks is refused with `UnsupportedAttentionError`, never
approximated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AttentionInterface, Cache, PreTrainedModel

from misstep.errors import MisstepError

Ints = npt.NDArray[np.int64]

ATTENTION = "misstep_rows"
_IGNORED = {"position_ids", "use_cache", "is_causal", "output_attentions", "return_dict"}


class UnsupportedAttentionError(MisstepError):
    """A model's attention needs a feature that the row attention does not support."""


class RowCache(Cache):  # type: ignore[misc]
    """One buffer per layer, (2, rows, key/value heads, columns, head size), initialised to zero.

    Call ``before_prefill`` or ``before_decode`` before each forward pass, and run passes in inference mode.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(layers=[])
        self.rows = rows
        self.columns = 0
        self._buffers: dict[int, torch.Tensor] = {}
        self._prefill: slice | None = None
        self._positions = torch.empty(0, dtype=torch.long)
        self._width = 0
        self._places: dict[int, torch.Tensor] = {}

    def reserve(self, columns: int) -> None:
        """Make room for rows of that many tokens; the contents stay."""
        if columns <= self.columns:
            return
        grown = -(-columns // 32) * 32
        with torch.inference_mode():
            for layer, old in self._buffers.items():
                self._buffers[layer] = old.new_zeros((*old.shape[:3], grown, old.shape[4]))
                self._buffers[layer][:, :, :, : self.columns] = old
        self.columns = grown

    def before_prefill(self, rows: slice) -> None:
        self._prefill = rows

    def before_decode(self, positions: torch.Tensor, width: int) -> None:
        """Write the next token of row i at column ``positions[i]``, and read columns below ``width``."""
        self._prefill = None
        self._positions = positions
        self._width = width
        self._places.clear()

    def copy(self, sources: Ints, targets: Ints, columns: int) -> None:
        """Copy the first columns of some rows into others."""
        for buffer in self._buffers.values():
            with torch.inference_mode():
                if buffer.device.type != "cpu":
                    buffer[:, targets, :, :columns] = buffer[:, sources, :, :columns]
                    continue
                # NumPy copies whole lines, several times faster than torch's index kernels, which copy elements.
                lines = buffer.view(torch.uint8).view(2, self.rows, buffer.shape[2], -1).numpy()
                used = columns * buffer.shape[4] * buffer.element_size()
                for head in range(buffer.shape[2]):
                    for side in lines[:, :, head]:
                        side[targets, :used] = side[sources, :used]

    def clear(self) -> None:
        self._buffers.clear()
        self.columns = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        buffer = self._buffers.get(layer_idx)
        if buffer is None:
            if key_states.shape != value_states.shape:
                raise UnsupportedAttentionError("keys and values differ in shape")
            heads, size = key_states.shape[1], key_states.shape[3]
            buffer = key_states.new_zeros((2, self.rows, heads, self.columns, size))
            self._buffers[layer_idx] = buffer
        if self._prefill is not None:
            length = key_states.shape[2]
            buffer[0, self._prefill, :, :length] = key_states
            buffer[1, self._prefill, :, :length] = value_states
            return key_states, value_states
        places = self._places_of(key_states.shape[1])
        for held, states in zip(buffer, (key_states, value_states), strict=True):
            held.view(-1, held.shape[-1]).index_copy_(0, places, states.reshape(len(places), -1))
        read = buffer[:, : len(self._positions), :, : self._width]
        return read[0], read[1]

    def _places_of(self, heads: int) -> torch.Tensor:
        """Return the position of each row's and head's new token, in a buffer flattened to its last dimension."""
        places = self._places.get(heads)
        if places is None:
            lines = torch.arange(len(self._positions) * heads, device=self._positions.device) * self.columns
            places = lines + self._positions.repeat_interleave(heads)
            self._places[heads] = places
        return places

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0 if self._prefill is not None else self._width - 1


def row_attention(
    _module: torch.nn.Module | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention like transformers' attention functions, without copying a key head for each of its query heads.

    Args:
        query: (rows, heads, queries, size); one query is a decoding step, more are a prefill from position 0.
        key, value: (rows, key/value heads, columns, size).
        attention_mask: None, or a decoding step's additive mask (rows, 1, 1, columns).

    Returns:
        (rows, queries, heads, size), and no weights.

    Raises:
        UnsupportedAttentionError: the model passes an unsupported argument (soft caps, sinks, biases).
    """
    unknown = [name for name, given in rest.items() if name not in _IGNORED and given is not None]
    if unknown or dropout:
        raise UnsupportedAttentionError(f"unknown arguments {unknown}, dropout {dropout}")
    rows, heads, queries, size = query.shape
    kv_heads, columns = key.shape[1], key.shape[2]
    scale = size**-0.5 if scaling is None else scaling
    if queries > 1:
        window = None
        if sliding_window is not None and columns > sliding_window:
            distance = torch.arange(columns, device=key.device)
            window = distance[:, None] - distance
            window = (window >= 0) & (window < sliding_window)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, window, is_causal=window is None, scale=scale, enable_gqa=heads != kv_heads
        )
        return mixed.transpose(1, 2), None
    if sliding_window is not None and columns > sliding_window:
        attention_mask = _narrow(attention_mask, rest["position_ids"], columns, sliding_window, query)
    grouped = (query * scale).reshape(rows, kv_heads, heads // kv_heads, size)
    weights = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        weights += attention_mask
    # In half precision transformers computes this step in single precision, and so does this.
    wide = torch.float32 if value.element_size() < 4 else value.dtype
    weights = weights.softmax(-1, dtype=wide).to(value.dtype)
    return (weights @ value).reshape(rows, 1, heads, size), None


def _narrow(
    mask: torch.Tensor | None, positions: torch.Tensor, columns: int, window: int, like: torch.Tensor
) -> torch.Tensor:
    """Mask, in a decoding step, all columns that are a window or more before each row's position."""
    behind = torch.arange(columns, device=like.device) <= positions - window
    hidden = torch.zeros_like(behind, dtype=like.dtype).masked_fill_(behind, float("-inf"))[:, None, None]
    return hidden if mask is None else mask + hidden


AttentionInterface.register(ATTENTION, row_attention)


@contextmanager
def use_row_attention(model: PreTrainedModel) -> Iterator[None]:
    """Use the row attention inside the block, and restore the model's own afterwards: training uses the same object."""
    config = model.config.get_text_config(decoder=True)
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
