"""Two ways to run a causal language model over rows: by row buffers (fast), or as transformers does (any model).

Both fill a row with all of its prompt but the last token; that token is the row's first decoding step, so logits
are only ever computed for one position a row, and rows that share a prompt share its prefill.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from misstep.generation.forward import Forward, LlamaForward, ModelForward
from misstep.generation.row_cache import Ints, RowCache, UnsupportedAttentionError

_PREFILL_TOKENS = 1024
"""Prompt tokens in one forward pass: bounds its activations, whatever the prompts' number and length."""
_LAYERS = {"full_attention", "sliding_attention"}
_ROTARY = {"default", "linear", "llama3", "yarn"}
"""Rotary positions that depend on the position alone; others also look at the longest row."""
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Relative error of logits that a check allows."""
_HALF_TOLERANCE = 0.1
"""As transformers' own attentions differ among each other in half precision; a real difference is larger."""


class Decoder(Protocol):
    """Rows 0..b-1 are in use; the caller keeps count of them."""

    joins: bool
    """Whether rows may be added while others are in use; else only to none, and all with prompts of one length."""

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        """Put prompts, less their last tokens, into rows from ``first`` on; rows will hold up to ``columns`` tokens."""

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        """Give row ``targets[i]`` the first ``lengths[i]`` tokens of row ``sources[i]``."""

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        """Append a token to each row, at that position of its text; return the logits after it, (rows, vocabulary)."""

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        """Put rows, of so many tokens each, in the place of others; keep the first ``rows``."""

    def clear(self) -> None:
        """Forget all rows and free what they hold."""


class RowDecoder:
    """Rows of any length, joining and leaving, over a `RowCache`."""

    joins = True

    def __init__(self, model: PreTrainedModel, rows: int, forward: Forward) -> None:
        self._device, self._dtype = model.device, model.dtype
        self._cache = RowCache(rows)
        self._run = forward

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        self._cache.reserve(columns)
        start = 0
        while start < len(prompts):
            width = max(1, len(prompts[start]) - 1)
            part = prompts[start : start + max(1, _PREFILL_TOKENS // width)]
            self._prefill(first + start, part)
            start += len(part)

    def _prefill(self, first: int, prompts: Sequence[Sequence[int]]) -> None:
        width = max(len(prompt) for prompt in prompts) - 1
        if not width:
            return
        # Padding stands behind a row's tokens: none of them attends to it, and decoding overwrites it.
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt) - 1] = prompt[:-1]
        self._cache.before_prefill(slice(first, first + len(prompts)))
        with torch.inference_mode():
            positions = torch.arange(width, device=self._device).repeat(len(prompts), 1)
            self._run.prefill(self._tensor(ids), positions, self._cache)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        self._cache.copy(sources, targets, int(lengths.max()))

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        width = int(positions.max()) + 1
        with torch.inference_mode():
            at = self._tensor(positions)
            self._cache.before_decode(at, width)
            mask = None
            if int(positions.min()) + 1 < width:
                beyond = torch.arange(width, device=at.device) > at[:, None]
                mask = torch.zeros(beyond.shape, dtype=self._dtype, device=at.device)
                mask = mask.masked_fill_(beyond, float("-inf"))[:, None, None]
            return self._run.step(self._tensor(tokens)[:, None], at[:, None], mask, self._cache)

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        if len(sources):
            self._cache.copy(sources, targets, int(lengths.max()))

    def clear(self) -> None:
        self._cache.clear()

    def _tensor(self, array: Ints) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


class OrdinaryDecoder:
    """Run any decoder-only model with its own attention and cache, over rows that stand at one position together."""

    joins = False

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._cache: Any = None
        self._keep = {"logits_to_keep": 1} if _takes(model, "logits_to_keep") else {}

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        assert first == 0 and len({len(prompt) for prompt in prompts}) == 1
        self._cache = DynamicCache(config=self._model.config)
        ids = np.array([prompt[:-1] for prompt in prompts], dtype=np.int64)
        if ids.size:
            self._forward(ids)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        if lengths[0]:
            index = np.arange(targets.max() + 1)
            index[targets] = sources
            self._select(index)

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        return self._forward(tokens[:, None])

    def _forward(self, ids: Ints) -> torch.Tensor:
        with torch.inference_mode():
            tokens = torch.from_numpy(ids).to(self._model.device)
            out = self._model(input_ids=tokens, past_key_values=self._cache, use_cache=True, **self._keep)
            return out.logits[:, -1]

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        index = np.arange(rows)
        index[targets] = sources
        self._select(index)

    def _select(self, index: Ints) -> None:
        with torch.inference_mode():
            self._cache.reorder_cache(torch.from_numpy(index).to(self._model.device))

    def clear(self) -> None:
        self._cache = None


def decoder_for(model: PreTrainedModel, rows: int) -> Decoder:
    """Choose the fastest way by which the model's logits come out the same, checked on a few random tokens."""
    if _fits_rows(model):
        if LlamaForward.fits(model) and rows_agree(model, LlamaForward(model)):
            return RowDecoder(model, rows, LlamaForward(model))
        if rows_agree(model, ModelForward(model)):
            return RowDecoder(model, rows, ModelForward(model))
    return OrdinaryDecoder(model)


def _fits_rows(model: PreTrainedModel) -> bool:
    """Tell whether rows of unlike length may stand side by side: nothing in the model looks across them."""
    config = model.config.get_text_config(decoder=True)
    return (
        set(getattr(config, "layer_types", None) or ()) <= _LAYERS
        and positions_alone(config)
        and getattr(model, "_supports_attention_backend", False)
        and _takes(model, "logits_to_keep")
    )


def positions_alone(config: Any) -> bool:
    """Tell whether a token's rotary position depends on its place alone, not on the longest row beside it."""
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = {part["rope_type"] for part in (rotary, *rotary.values()) if isinstance(part, dict) and "rope_type" in part}
    return kinds <= _ROTARY


def rows_agree(model: PreTrainedModel, forward: Forward) -> bool:
    """Compare `RowDecoder` with plain forward passes, over two rows of unlike length and two decoding steps."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = np.random.default_rng(0).integers(0, vocabulary, (2, 8))
    lengths = np.array([6, 3])
    decoder = RowDecoder(model, 2, forward)
    try:
        decoder.prefill(0, [ids[0, :6].tolist(), ids[1, :3].tolist()], 8)
        for step in range(2):
            at = lengths - 1 + step
            logits = decoder.step(ids[[0, 1], at], at).float()
            for row in range(2):
                expected = _plain_logits(model, ids[row : row + 1, : at[row] + 1])
                error = (logits[row] - expected).norm() / expected.norm().clamp_min(1e-9)
                if not error < _TOLERANCE.get(model.dtype, _HALF_TOLERANCE):
                    return False
    except UnsupportedAttentionError:
        return False
    return True


def _plain_logits(model: PreTrainedModel, ids: Ints) -> torch.Tensor:
    with torch.inference_mode():
        out = model(input_ids=torch.from_numpy(ids).to(model.device), use_cache=False, logits_to_keep=1)
    logits: torch.Tensor = out.logits[0, -1].float()
    return logits


def _takes(model: PreTrainedModel, argument: str) -> bool:
    forward = getattr(model, "get_base_model", lambda: model)().forward
    return argument in inspect.signature(forward).parameters
