"""Two optimisations of TRL's training steps on a CPU that do not change the results.

Measured by ``benchmarks/training.py`` on the quickstart's model, batches of 64, one thread.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import trl.trainer.utils
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from misstep.distributed.ranks import world

_BAND_ROWS = 8
"""Bands begin at multiples of this many rows: finer ones save too little padding to search for."""
_BAND_TOKENS = 128
"""The cost of an additional forward pass on a small model, in tokens."""


@contextmanager
def cheaper_steps(model: PreTrainedModel) -> Iterator[None]:
    """Reduce padding and the logits' buffer inside the block, if the model is on a CPU; otherwise do nothing.

    On a GPU neither helps: a kernel for each band costs more than padding, and logits are tiled for its memory.
    """
    if model.device.type != "cpu":
        yield
        return
    # With ZeRO-3 all ranks must run each layer the same number of times, so they cannot have their own bands.
    bands = nullcontext() if world().sharded else _bands(model)
    with bands, _narrow_logits(model.config.get_text_config(decoder=True).vocab_size):
        yield


@contextmanager
def _narrow_logits(vocabulary: int) -> Iterator[None]:
    """Make TRL's fused LM head write its logits densely.

    It uses a buffer as wide as its largest tile of the vocabulary (32,768 columns) for any vocabulary, so each row of a
    small one is on separate memory pages: for 49 tokens that costs a tenth of a step.
    """
    before = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
    trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = min(before, vocabulary)
    try:
        yield
    finally:
        trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = before


@contextmanager
def _bands(model: PreTrainedModel) -> Iterator[None]:
    """Run a training batch as a few bands of rows of similar length, each only as wide as its longest row.

    Rows are padded on the right and attention is causal, so padding does not change any hidden state with loss, and no
    mask is needed. Pairs come here only if they are not packed (`misstep.training.shared_prefix`).
    """
    backbone = model.base_model
    forward = backbone.forward

    @functools.wraps(forward)
    def banded(*args: Any, **kwargs: Any) -> Any:
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        in_training = not args and kwargs.keys() == {"input_ids", "attention_mask", "use_cache"}
        if not in_training or kwargs["use_cache"] or ids is None or mask is None or mask.shape != ids.shape:
            return forward(*args, **kwargs)
        lengths, order = mask.sum(1).sort(descending=True, stable=True)
        widths = lengths.tolist()
        parts = []
        for start, end in plan_bands(widths):
            rows, width = order[start:end], widths[start]
            part = forward(input_ids=ids[rows, :width], use_cache=False)
            parts.append(functional.pad(part.last_hidden_state, (0, 0, 0, ids.shape[1] - width)))
        return BaseModelOutputWithPast(last_hidden_state=torch.cat(parts)[order.argsort()])

    backbone.forward = banded
    try:
        yield
    finally:
        del backbone.forward


def plan_bands(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Split rows, longest first, into bands [start, end) with the smallest total cost of padded tokens and passes.

    Optimal among band boundaries at multiples of 8 rows, by dynamic programming.
    """
    borders = [*range(0, len(lengths), _BAND_ROWS), len(lengths)]
    cheapest = [0.0]
    start_of = [0]
    for end in range(1, len(borders)):
        cost, start = min(
            (cheapest[i] + (borders[end] - borders[i]) * lengths[borders[i]] + _BAND_TOKENS, i) for i in range(end)
        )
        cheapest.append(cost)
        start_of.append(start)
    bands = []
    end = len(borders) - 1
    while end:
        start = start_of[end]
        bands.append((borders[start], borders[end]))
        end = start
    return bands[::-1]
