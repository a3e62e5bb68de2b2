"""The shape of a causal language model, read from its ``config.json``, and its number of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

_MOST = 1 << 24
"""Of any dimension."""
_BIASED_QKV = ("qwen2",)
"""Model types whose query, key and value projections always have a bias."""
_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2")
"""Model types with RMS norms, rotary positions and a gated feed-forward block of three matrices."""


class Architecture(BaseModel):
    """A decoder-only transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether the output matrix is the embedding."""
    context: int
    """Longest sequence in tokens."""
    parameters: int
    counted: str
    """How `parameters` was found: ``exact``, or what was assumed."""

    @property
    def kv_elements(self) -> int:
        """Numbers in the key-value cache per token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def architecture_from(name: str, config: Mapping[str, Any]) -> Architecture | None:
    """Read a Hugging Face ``config.json``; None if it lacks a field that every decoder-only transformer has.

    Exact for Llama, Mistral, Qwen2 and Qwen3 and for GPT-2; other types are counted as Llama, and `counted` says so.
    """
    inner = config.get("text_config")
    config = {**config, **(inner if isinstance(inner, Mapping) else {})}
    try:
        found = _gpt2(name, config) if "n_embd" in config else _llama_like(name, config)
    except (TypeError, ValueError, ArithmeticError):  # not numbers, or a division by zero
        return None
    return found if found is not None and _is_possible(found) else None


def _is_possible(found: Architecture) -> bool:
    """Return whether the numbers are plausible, so that everything computed from them stays finite."""
    sizes = (found.layers, found.hidden, found.intermediate, found.heads, found.kv_heads, found.head_dim)
    return all(0 < size <= _MOST for size in (*sizes, found.vocabulary)) and 0 <= found.context <= 1 << 40


def _llama_like(name: str, config: Mapping[str, Any]) -> Architecture | None:
    try:
        layers, hidden, heads = (
            int(config[field]) for field in ("num_hidden_layers", "hidden_size", "num_attention_heads")
        )
        intermediate, vocabulary = int(config["intermediate_size"]), int(config["vocab_size"])
    except (KeyError, TypeError, ValueError):
        return None
    kind = str(config.get("model_type", ""))
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or hidden // heads)
    tied = bool(config.get("tie_word_embeddings", False))
    query, key = heads * head_dim, kv_heads * head_dim
    biased = kind in _BIASED_QKV or bool(config.get("attention_bias"))
    attention = 2 * hidden * query + 2 * hidden * key + (query + 2 * key if biased else 0)
    if config.get("attention_bias") and kind not in _BIASED_QKV:
        attention += hidden  # Llama's attention_bias is the output projection's too
    if kind == "qwen3":
        attention += 2 * head_dim  # norms of queries and keys
    feed_forward = 3 * hidden * intermediate + (2 * intermediate + hidden if config.get("mlp_bias") else 0)
    layer = attention + feed_forward + 2 * hidden
    return Architecture(
        name=name,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=vocabulary,
        tied=tied,
        context=int(config.get("max_position_embeddings") or 0),
        parameters=(1 if tied else 2) * vocabulary * hidden + layers * layer + hidden,
        counted="exact" if kind in _GATED else f"model type {kind or 'unknown'} counted as Llama's",
    )


def _gpt2(name: str, config: Mapping[str, Any]) -> Architecture | None:
    try:
        layers, hidden, heads = (int(config[field]) for field in ("n_layer", "n_embd", "n_head"))
        vocabulary, context = int(config["vocab_size"]), int(config["n_positions"])
    except (KeyError, TypeError, ValueError):
        return None
    intermediate = int(config.get("n_inner") or 4 * hidden)
    attention = 4 * hidden * hidden + 4 * hidden
    feed_forward = 2 * hidden * intermediate + intermediate + hidden
    return Architecture(
        name=name,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        vocabulary=vocabulary,
        tied=True,
        context=context,
        parameters=(vocabulary + context) * hidden + layers * (attention + feed_forward + 4 * hidden) + 2 * hidden,
        counted="exact" if config.get("model_type", "gpt2") == "gpt2" else "counted as GPT-2's",
    )


def _llama(layers: int, hidden: int, intermediate: int, heads: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "vocab_size": vocabulary,
        **more,
    }


KNOWN: Mapping[str, Mapping[str, Any]] = {
    "deepseek-ai/deepseek-math-7b-base": _llama(30, 4096, 11008, 32, 102400, max_position_embeddings=4096),
    "deepseek-ai/deepseek-math-7b-instruct": _llama(30, 4096, 11008, 32, 102400, max_position_embeddings=4096),
    "meta-llama/Llama-2-7b-hf": _llama(32, 4096, 11008, 32, 32000, max_position_embeddings=4096),
    "meta-llama/Llama-2-13b-hf": _llama(40, 5120, 13824, 40, 32000, max_position_embeddings=4096),
    "Qwen/Qwen2.5-Math-1.5B": _llama(
        28, 1536, 8960, 12, 151936, num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=4096
    )
    | {"model_type": "qwen2"},
    "Qwen/Qwen2.5-Math-7B": _llama(28, 3584, 18944, 28, 152064, num_key_value_heads=4, max_position_embeddings=4096)
    | {"model_type": "qwen2"},
    "HuggingFaceTB/SmolLM2-135M-Instruct": _llama(
        30, 576, 1536, 9, 49152, num_key_value_heads=3, tie_word_embeddings=True, max_position_embeddings=8192
    ),
}
"""The configurations of Hub models for which planning needs no network."""


def known_architecture(hub: str) -> Architecture | None:
    """Return the architecture of a Hub model from this table, or None."""
    config = KNOWN.get(hub)
    return None if config is None else architecture_from(hub, config)
