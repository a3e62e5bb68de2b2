"""Forward passes over a `RowCache`: with the model's own code or, for Llama's family, with a short reimplementation.

The reimplementation is for small models on a CPU, where the Python code around the modules costs as much as their
arithmetic: with hidden size 96 and 3 layers a decoding step of 64 rows takes half the time, one of 256 rows four
fifths. It uses the same parameters, copies none, and is used only if `decoders` finds its logits equal to the model's.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from misstep.generation.row_cache import RowCache, row_attention, use_row_attention

_FAMILY = {"llama", "mistral", "qwen2"}
"""Model types whose decoder layer is Llama's: RMS norms before attention and MLP, rotary positions, gated SiLU."""
Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the tokens' positions, (tokens, 1, head size); the first half of the sines is negated."""


class Forward(Protocol):
    """A way to compute the model's forward pass with keys and values in the cache's rows."""

    def prefill(self, ids: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> None:
        """Write keys and values of ids (rows, length) into the cache; positions are (rows, length)."""

    def step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RowCache
    ) -> torch.Tensor:
        """Return logits (rows, vocabulary) after one more token per row; ids and positions are (rows, 1)."""


class ModelForward:
    """Call the model's own code, with the row attention in place of its attention."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def prefill(self, ids: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> None:
        self.step(ids, positions, None, cache)

    def step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RowCache
    ) -> torch.Tensor:
        with use_row_attention(self._model):
            out = self._model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return out.logits[:, -1]


class LlamaForward:
    """Compute the forward pass of a Llama, Mistral (without a window) or Qwen2 model, layer by layer."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._base = model.model
        self._head = model.lm_head
        self._layers = [_Layer(layer) for layer in self._base.layers]
        self._turns = torch.empty(0)

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Return whether the model belongs to the family and has plain linear layers (no adapters, no quantisation).

        Its rotary positions come from a table: they must depend only on the position.
        """
        config = model.config
        windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        if config.model_type not in _FAMILY or config.hidden_act != "silu" or windows:
            return False
        if config.model_type == "mistral" and config.sliding_window is not None:
            return False
        linear = [m for name, m in model.named_modules() if name.endswith("_proj") or name == "lm_head"]
        return type(model).__name__.endswith("ForCausalLM") and all(type(m) is nn.Linear for m in linear)

    def prefill(self, ids: torch.Tensor, positions: torch.Tensor, cache: RowCache) -> None:
        hidden, turn = self._enter(ids, positions, cache.columns)
        for layer in self._layers[:-1]:
            hidden = layer(hidden, turn, None, cache, ids.shape)
        self._layers[-1].remember(hidden, turn, cache, ids.shape)

    def step(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, cache: RowCache
    ) -> torch.Tensor:
        hidden, turn = self._enter(ids, positions, cache.columns)
        for layer in self._layers:
            hidden = layer(hidden, turn, mask, cache, ids.shape)
        return _apply(self._head, _rms(hidden, self._base.norm))

    def _enter(self, ids: torch.Tensor, positions: torch.Tensor, columns: int) -> tuple[torch.Tensor, Turn]:
        hidden = functional.embedding(ids.flatten(), self._base.embed_tokens.weight)
        if len(self._turns) < columns or self._turns.dtype != hidden.dtype:
            cos, sin = self._base.rotary_emb(hidden, torch.arange(columns, device=hidden.device)[None])
            low, high = sin[0].chunk(2, -1)
            self._turns = torch.stack([cos[0], torch.cat([-low, high], -1)], 1)
        cos, sin = self._turns.index_select(0, positions.flatten())[:, :, None].unbind(1)
        return hidden, (cos, sin)


class _Layer:
    """One decoder layer over flat tokens: hidden states are (tokens, hidden size)."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._before, self._between = layer.input_layernorm, layer.post_attention_layernorm
        self._q, self._k, self._v, self._o = (getattr(attention, f"{name}_proj") for name in "qkvo")
        self._gate, self._up, self._down = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self._size, self._scaling, self._index = attention.head_dim, attention.scaling, attention.layer_idx

    def __call__(
        self,
        hidden: torch.Tensor,
        turn: Turn,
        mask: torch.Tensor | None,
        cache: RowCache,
        shape: torch.Size,
    ) -> torch.Tensor:
        normed = _rms(hidden, self._before)
        keys, values = self._remember(normed, turn, cache, shape)
        query = _turned(_apply(self._q, normed).view(len(hidden), -1, self._size), turn)
        query = query.view(*shape, -1, self._size).transpose(1, 2)
        mixed, _ = row_attention(None, query, keys, values, mask, self._scaling)
        hidden = _onto(hidden, self._o, mixed.reshape(len(hidden), -1))
        normed = _rms(hidden, self._between)
        gated = functional.silu(_apply(self._gate, normed), inplace=True).mul_(_apply(self._up, normed))
        return _onto(hidden, self._down, gated)

    def remember(self, hidden: torch.Tensor, turn: Turn, cache: RowCache, shape: torch.Size) -> None:
        """Write keys and values only: a prefill needs nothing else of the last layer."""
        self._remember(_rms(hidden, self._before), turn, cache, shape)

    def _remember(
        self, normed: torch.Tensor, turn: Turn, cache: RowCache, shape: torch.Size
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key = _turned(_apply(self._k, normed).view(len(normed), -1, self._size), turn)
        value = _apply(self._v, normed)
        shape = (*shape, -1, self._size)
        return cache.update(key.view(shape).transpose(1, 2), value.view(shape).transpose(1, 2), self._index)


def _apply(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = functional.linear(x, linear.weight, linear.bias)
    return y


def _onto(hidden: torch.Tensor, linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    out = torch.addmm(hidden, x, linear.weight.t())
    return out if linear.bias is None else out.add_(linear.bias)


def _turned(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    """Apply rotary positions (arXiv 2104.09864) to (tokens, heads, size)."""
    low, high = x.chunk(2, -1)
    return torch.addcmul(x * turn[0], torch.cat([high, low], -1), turn[1])


def _rms(x: torch.Tensor, norm: Any) -> torch.Tensor:
    wide = x.float()
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = length.square_().mul_(1 / x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return (wide * scale).to(x.dtype).mul_(norm.weight)
