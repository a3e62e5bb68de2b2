"""Tiny random models of any architecture that transformers knows, for checks of the engine.

Sizes are small, and so is everything that limits what a token sees (windows, chunks, top-k of sparse attentions): a
text of some forty tokens runs past all of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

WORDS = 48
END = 1
WINDOW = 7
CONTEXT = 256
MODEL_TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
_LARGEST = 60_000_000
"""Parameters. A larger model means that a size has a name that is missing below."""

_SIZES: tuple[tuple[int, str], ...] = (
    (WORDS, "vocab_size vocab_size_per_layer_input ngram_vocab_size_base encoder_hash_byte_group_vocab"),
    (
        32,
        "hidden_size d_model n_embd dim embedding_size input_embedding_size output_embedding_size emb_dim lru_width "
        "backbone_hidden_size router_hidden_size word_embed_proj_dim ffn_out_dim hidden_dim",
    ),
    (
        48,
        "intermediate_size n_inner dff dim_ff ffn_dim decoder_ffn_dim encoder_ffn_dim d_inner feed_forward_size "
        "ffn_hidden_size dense_intermediate_size intermediate_size_mlp shared_intermediate_size",
    ),
    (
        24,
        "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size "
        "moe_shared_expert_intermediate_size moe_shared_intermediate_size",
    ),
    (
        4,
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads attention_heads "
        "num_encoder_attention_heads num_decoder_attention_heads swa_num_attention_heads n_routed_experts num_experts "
        "num_local_experts moe_num_experts index_n_heads linear_num_value_heads linear_num_heads mamba_num_heads "
        "mamba_n_heads hc_lowrank num_centroids gated_norm_rank adapter_rank index_block_size",
    ),
    (
        2,
        "num_key_value_heads num_kv_heads swa_num_key_value_heads num_global_key_value_heads num_experts_per_tok top_k "
        "moe_topk moe_top_k moe_k num_experts_per_token linear_num_key_heads n_group topk_group "
        "index_topk_blocks zero_expert_num centroid_intermediate_top_k decoder_layers encoder_layers "
        "num_encoder_layers num_decoder_layers prompt_length split_ngram_parts laurel_rank o_groups",
    ),
    (
        8,
        "head_dim dim_head attention_head_size kv_channels swa_head_dim global_head_dim v_head_dim qk_nope_head_dim "
        "index_head_dim linear_key_head_dim linear_value_head_dim linear_head_dim mamba_head_dim kv_lora_rank "
        "q_lora_rank o_lora_rank mamba_d_state mamba_d_head d_rel ssm_state_size state_size "
        "hidden_size_per_layer_input chunk_size mamba_chunk_size block_size pronunciation_embed_dim shape_embed_dim "
        "linear_chunk_size num_buckets local_attn_chunk_length lsh_attn_chunk_length block_multiple_of head_v_dim",
    ),
    (6, "index_topk"),
    (32, "mamba_d_ssm"),
    (8, "qk_rope_head_dim rotary_dim"),
    (
        WINDOW,
        "sliding_window attention_window_size attention_chunk_size window_size sliding_window_size "
        "local_attention floor_scale keep_window_size",
    ),
    (CONTEXT, "max_position_embeddings n_positions n_ctx max_seq_len context_length max_target_positions"),
    (64, "hidden_size_global max_source_positions pronunciation_vocab_size shape_vocab_size image_size rel_extent"),
    (1, "n_shared_experts num_shared_experts moe_num_shared_experts first_k_dense_replace num_dense_layers"),
)
_ROLES = {"eos_token_id": END, "pad_token_id": 0, "bos_token_id": 2, "decoder_start_token_id": 2, "sep_token_id": 3}
_LAYERS = "num_hidden_layers n_layer n_layers num_layers"
_SWITCHES = {"is_decoder": True, "use_sliding_window": True, "use_mamba_kernels": False, "scale_attn_weights": True}
_HYBRID = ["linear_attention", "full_attention"] * 2
_BOTH = ["sliding_attention", "full_attention"] * 2
_CHANGES: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "attn_layer_indices": [1, 3]},
    "blt": {
        "hidden_size_global": 64,
        "global_config": {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2},
    },
    "cohere_compass_text": {
        "layer_types": _BOTH,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]} for kind in _BOTH
        },
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "gemma3n_text": {
        "layer_types": [*_BOTH, *_BOTH],
        "num_hidden_layers": 8,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": None,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"mamba_n_heads": 8, "layer_types": _HYBRID},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": _HYBRID},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"], "n_groups": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "reformer": {"axial_pos_shape": [16, 16], "axial_pos_embds_dim": [16, 16]},
    "xlm": {"causal": True},
    "xlnet": {"attn_type": "uni"},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention"] * 2 + ["hybrid", "linear_attention", "hybrid"],
        "num_hidden_layers": 5,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type needs beyond small sizes, to be valid or to have layers of each kind that it can have."""
_TEXT_PARTS = {"fuyu": "persimmon", "got_ocr2": "qwen2"}
"""Of types whose text part can be of several types, which it is here."""


_ROPE = {"rope_theta": 1e4, "original_max_position_embeddings": 16}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "falcon": [
        {"alibi": True},
        {"new_decoder_architecture": True, "parallel_attn": True},
        {"multi_query": False, "num_kv_heads": 4},
    ],
    "gemma3_text": [{"use_bidirectional_attention": False, "layer_types": ["sliding_attention"] * 4}],
    "gpt_neox": [{"use_parallel_residual": False}],
    "llama": [
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_parameters": _ROPE | {"rope_type": "yarn", "factor": 4.0}},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ],
    "mistral": [{"sliding_window": None}],
    "nemotron_h": [{"time_step_min": 0.05}],
    "opt": [{"do_layer_norm_before": False, "word_embed_proj_dim": 16}],
    "phi3": [
        {"sliding_window": None},
        {
            "original_max_position_embeddings": 16,
            "rope_parameters": _ROPE | {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
        },
    ],
    "qwen2": [{"use_sliding_window": False}],
    "qwen3": [{"use_sliding_window": False}],
    "starcoder2": [{"sliding_window": None}],
    "zamba2": [{"time_step_min": 0.05}],
    "zaya": [{"layer_types": ["hybrid", "hybrid_sliding"] * 2}],
}
"""Further settings of some types that change what is computed, each tried besides the small ones. The least time step
of recurrent layers is raised where transformers keeps to it in whole texts, and not in single tokens."""

RECURRENT = [
    "bamba",
    "falcon_h1",
    "falcon_mamba",
    "granitemoehybrid",
    "jamba",
    "kimi_linear",
    "lfm2",
    "mamba",
    "mamba2",
    "minimax",
    "nemotron_h",
    "qwen3_next",
    "recurrent_gemma",
    "rwkv",
    "zamba",
    "zamba2",
]
"""Types, or some of them, that carry a state from token to token."""


class NotBuiltError(Exception):
    """A tiny model of this type cannot be made; the text says why."""


def tiny_model(model_type: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """Build a random model of a type, in evaluation mode, whose next token depends on all that it sees.

    Raises:
        NotBuiltError: the small settings do not fit the type.
    """
    try:
        with torch.device("meta"):
            shapes = AutoModelForCausalLM.from_config(tiny_config(model_type, **changes))
        size = sum(weight.numel() for weight in shapes.parameters())
        torch.manual_seed(seed)
        model = None if size > _LARGEST else AutoModelForCausalLM.from_config(tiny_config(model_type, **changes))
    except Exception as error:  # whatever a type raises at settings that it does not like
        raise NotBuiltError(f"{type(error).__name__}: {' '.join(str(error).split())}"[:90]) from error
    if model is None:
        raise NotBuiltError(f"{size:,} parameters with small settings")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _enlarge(name, weight)
    return model.to(dtype).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of ``<pad>``, ``<eos>`` and words, with the vocabulary and context of the tiny models."""
    vocabulary = {"<pad>": 0, "<eos>": END} | {f"w{i}": i for i in range(2, WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, next(iter(vocabulary))))
    roles = {"pad_token": "<pad>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=CONTEXT, **roles)


def _enlarge(name: str, weight: torch.Tensor) -> None:
    """Scale a matrix so that its outputs are of the size of its inputs: with 0.02 a model says one token for ever."""
    if weight.dim() < 2 or "A_log" in name:
        return
    spread = float(weight.float().std())
    if 0 < spread < 0.2:
        weight.mul_(0.25 / spread)


def tiny_config(model_type: str, **changes: Any) -> PreTrainedConfig:
    """Make a type's configuration with small sizes."""
    return CONFIG_MAPPING[model_type](**(settings_of(CONFIG_MAPPING[model_type]) | changes))


def settings_of(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return small values for the fields that a configuration has."""
    small = {name: value for value, names in _SIZES for name in names.split()} | _ROLES
    small |= dict.fromkeys(_LAYERS.split(), 4) | _SWITCHES
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in small:
            found[field.name] = small[field.name]
        elif field.name.endswith(("_token_id", "_token_index")):
            found[field.name] = 4  # of images and sounds
    if "kv_lora_rank" in found and "num_key_value_heads" in found:
        found["num_key_value_heads"] = found["num_attention_heads"]  # latent attention has a key head a query head
    for name, part in (kind.sub_configs or {}).items():
        if part.__name__ != "AutoConfig":
            found[name] = settings_of(part)
        elif name == "text_config" and kind.model_type in _TEXT_PARTS:
            text_type = _TEXT_PARTS[kind.model_type]
            found[name] = {"model_type": text_type} | settings_of(CONFIG_MAPPING[text_type])
    return found | _CHANGES.get(kind.model_type, {})
