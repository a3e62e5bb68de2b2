"""The parameter count from a configuration equals that of transformers' model."""

from __future__ import annotations

from typing import Any

import pytest

from misstep.cost.architecture import architecture_from, known_architecture

SMALL = {
    "vocab_size": 101,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"head_dim": 10}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen3", {"head_dim": 8}),
]
GPT2 = ("gpt2", {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64}, True)  # its output is its embedding


@pytest.mark.parametrize(
    ("kind", "more", "tied"), [(*model, tied) for model in MODELS for tied in (True, False)] + [GPT2], ids=str
)
def test_parameters_are_exact(kind: str, more: dict[str, Any], tied: bool) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"vocab_size": 101} if kind == "gpt2" else SMALL
    config = AutoConfig.for_model(kind, **shape, tie_word_embeddings=tied, **more)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = architecture_from("small", config.to_dict())
    assert found is not None
    assert found.counted == "exact"
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert (found.layers, found.hidden, found.vocabulary, found.context) == (3, 24, 101, 64)


@pytest.mark.parametrize(
    ("hub", "parameters"),
    [
        ("deepseek-ai/deepseek-math-7b-base", 6_910_365_696),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320),
        ("Qwen/Qwen2.5-Math-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-Math-7B", 7_615_616_512),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_known_models_have_their_published_size(hub: str, parameters: int) -> None:
    found = known_architecture(hub)
    assert found is not None
    assert found.parameters == parameters


def test_what_is_not_known_is_said() -> None:
    assert known_architecture("somebody/new-model") is None
    assert architecture_from("x", {"model_type": "mamba", "hidden_size": 8}) is None
    assert architecture_from("x", {"n_embd": 8}) is None
    other = architecture_from("x", {**SMALL, "model_type": "phi3"})
    assert other is not None
    assert "counted as Llama" in other.counted
