"""Attention over a batch of pairs that is packed into one sequence, registered with transformers.

No mask over the whole sequence is built: attention runs block by block, where trunks need no mask, and branches one of
their own size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from misstep.generation.row_cache import UnsupportedAttentionError
from misstep.training.prefix_layout import Block, Layout

ATTENTION = "misstep_shared_prefix"
_IGNORED = {"position_ids", "use_cache", "is_causal", "output_attentions", "output_hidden_states", "return_dict"}


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """The description of a packed batch, passed to the model as argument ``packing``."""

    blocks: Sequence[tuple[Block, torch.Tensor | None]]
    """The blocks, each with the bias of its branches' scores, (rows, 1, branch width, prefix + branch width)."""
    sizes: Sequence[int]
    judged: torch.Tensor
    """Slots whose hidden states go to the LM head, in order."""

    @classmethod
    def of(cls, layout: Layout, judged: torch.Tensor) -> Packing:
        blocks = [(block, _bias(block, judged.device) if block.branch_width else None) for block in layout.blocks]
        return cls(blocks, [size for block in layout.blocks for size in block.sizes], judged)


def _bias(block: Block, device: torch.device) -> torch.Tensor:
    visible = torch.from_numpy(block.visible()).to(device)
    return torch.zeros(visible.shape, device=device).masked_fill_(~visible, float("-inf"))[:, None]


def shared_attention(
    _module: torch.nn.Module | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attend inside each row of a packed batch.

    Args:
        query, key, value: (1, heads, slots, size); keys and values may have fewer heads.

    Returns:
        (1, slots, heads, size), and no weights.

    Raises:
        UnsupportedAttentionError: the model passes an unsupported argument (soft caps, sinks, biases).
    """
    unknown = [name for name, given in rest.items() if name not in _IGNORED and given is not None]
    if packing is None or attention_mask is not None or dropout or unknown:
        raise UnsupportedAttentionError(f"its attention needs unsupported arguments: {unknown}, dropout {dropout}")
    parts = zip(*(states[0].split(packing.sizes, dim=1) for states in (query, key, value)), strict=True)
    mixed = []
    for block, bias in packing.blocks:
        q, k, v = (part.unflatten(1, (block.rows, block.trunk_width)).transpose(0, 1) for part in next(parts))
        mixed.append(_attend(q, k, v, None, scaling))
        if bias is not None:
            q, *own = (part.unflatten(1, (block.rows, block.branch_width)).transpose(0, 1) for part in next(parts))
            k, v = (torch.cat([x[:, :, : block.prefix_width], y], 2) for x, y in zip((k, v), own, strict=True))
            mixed.append(_attend(q, k, v, bias, scaling))
    return torch.cat(mixed)[None], None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """Attend with the bias, or causally without one; return (rows x queries, heads, size)."""
    groups = query.shape[1] // key.shape[1]
    if bias is not None:
        bias = bias.to(query.dtype)
        if query.is_cuda and groups > 1:
            # CUDA's fast kernels support fewer key heads than query heads only without a mask.
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            groups = 1
    out = functional.scaled_dot_product_attention(
        query, key, value, bias, is_causal=bias is None, scale=scaling, enable_gqa=groups > 1
    )
    return out.transpose(1, 2).flatten(0, 1)


AttentionInterface.register(ATTENTION, shared_attention)


@contextmanager
def use_shared_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block the model takes packed batches, and nothing else.

    Its backbone then returns the hidden states of the judged slots only, (1, judged, hidden size).
    """
    before = model.config._attn_implementation
    hook = model.base_model.register_forward_hook(_keep_judged, with_kwargs=True)
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before
        hook.remove()


def _keep_judged(_module: Any, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    output.last_hidden_state = output.last_hidden_state.index_select(1, kwargs["packing"].judged)
    return output
