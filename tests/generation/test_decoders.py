"""Every way of running a model gives the model's own results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from misstep.generation.agreement import decoder_for
from misstep.generation.decoders import CachedWhileShort, OrdinaryDecoder, RowDecoder
from misstep.generation.engine import Request
from misstep.generation.forward import LlamaForward, ModelForward
from misstep.generation.row_cache import UnsupportedAttentionError, row_attention
from misstep.generation.transformers_engine import TransformersEngine
from tests.generation.tiny import WORDS, decoding, greedy, tiny, word_tokenizer

OWN, MODULES, ORDINARY = "own", "modules", "ordinary"
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 16}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
MODELS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "llama": ("llama", {}, OWN),
    "llama, one key head": ("llama", {"num_key_value_heads": 1}, OWN),
    "llama, a key head a head": ("llama", {"num_key_value_heads": 4}, OWN),
    "llama, tied, biases": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": False}, OWN),
    "llama, yarn": ("llama", {"rope_parameters": YARN}, OWN),
    "llama, dynamic positions": ("llama", {"rope_parameters": DYNAMIC}, ORDINARY),
    "llama, another activation": ("llama", {"hidden_act": "gelu"}, MODULES),
    "qwen2": ("qwen2", {}, OWN),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, MODULES),
    "qwen3": ("qwen3", {}, MODULES),
    "mistral": ("mistral", {"sliding_window": None}, OWN),
    "mistral, window": ("mistral", {"sliding_window": 5}, MODULES),
    "phi3": ("phi3", {}, MODULES),
    "gemma3_text": ("gemma3_text", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}, None),
    "gemma2": ("gemma2", {}, ORDINARY),  # soft caps on attention
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, None),
    "opt": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}, None),
    "bloom": ("bloom", {"seq_length": 64, "n_head": 4}, ORDINARY),
}


def way(decoder: object) -> str:
    if isinstance(decoder, OrdinaryDecoder | CachedWhileShort):
        return ORDINARY
    assert isinstance(decoder, RowDecoder)
    return {LlamaForward: OWN, ModelForward: MODULES}[type(decoder._run)]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_samples_are_those_of_generate(name):
    kind, changes, expected = MODELS[name]
    model = tiny(kind, **changes)
    engine = TransformersEngine(model, word_tokenizer(model_max_length=64), decoding(temperature=0.0), batch_rows=5)
    assert expected is None or way(engine._decoder) == expected
    rng = np.random.default_rng(1)
    prompts = [rng.integers(2, WORDS, length).tolist() for length in (1, 2, 3, 3, 5, 8, 13, 13, 21)]
    for number, prompt in enumerate(prompts):
        engine.submit(Request(number, prompt, [0] * (1 + number % 3)))
    found = {request.request_id: completions for request, completions in engine.results()}
    for number, prompt in enumerate(prompts):
        assert {c.token_ids for c in found[number]} == {tuple(greedy(model, prompt, 12))}


def test_attention_that_is_not_known_is_refused_not_approximated():
    ones = torch.ones(1, 2, 1, 4)
    with pytest.raises(UnsupportedAttentionError, match="softcap"):
        row_attention(None, ones, ones, ones, None, softcap=30.0)
    with pytest.raises(UnsupportedAttentionError, match="dropout"):
        row_attention(None, ones, ones, ones, None, dropout=0.1)


def test_a_rewrite_that_differs_from_the_model_is_not_used(monkeypatch):
    assert way(decoder_for(tiny(), 2)) == OWN
    monkeypatch.setattr("misstep.generation.forward._turned", lambda x, turn: x)
    assert way(decoder_for(tiny(), 2)) == MODULES
    monkeypatch.setattr(ModelForward, "step", lambda self, ids, *rest: torch.zeros(len(ids), WORDS))
    assert way(decoder_for(tiny(), 2)) == ORDINARY


def test_adapters_are_computed_with():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(tiny(), LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    model.eval()
    decoder = decoder_for(model, 1)
    assert way(decoder) == MODULES
    decoder.prefill(0, [[5, 6, 7]], 8)
    with torch.inference_mode():
        expected = model(torch.tensor([[5, 6, 7]])).logits[0, -1]
    torch.testing.assert_close(decoder.step(np.array([7]), np.array([2]))[0], expected, rtol=1e-4, atol=1e-4)


def test_weights_are_read_anew_at_every_step():
    model = tiny()
    decoder = decoder_for(model, 1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    decoder.prefill(0, [[5, 6, 7]], 8)
    with torch.inference_mode():
        expected = model(torch.tensor([[5, 6, 7]])).logits[0, -1]
    torch.testing.assert_close(decoder.step(np.array([7]), np.array([2]))[0], expected, rtol=1e-4, atol=1e-4)


def test_half_precision_runs_by_rows_and_close_to_single():
    model = tiny(dtype=torch.bfloat16, initializer_range=0.1)
    decoder = decoder_for(model, 1)
    assert way(decoder) == OWN
    decoder.prefill(0, [[5, 6, 7]], 8)
    logits = decoder.step(np.array([7]), np.array([2]))[0].float()
    with torch.inference_mode():
        exact = model.float()(torch.tensor([[5, 6, 7]])).logits[0, -1]
    assert (logits - exact).norm() < 0.03 * exact.norm()


def test_long_prompts_are_prefilled_in_parts(monkeypatch):
    monkeypatch.setattr("misstep.generation.decoders._PREFILL_TOKENS", 16)
    model = tiny()
    passes = []
    run = LlamaForward.prefill
    monkeypatch.setattr(
        LlamaForward, "prefill", lambda self, ids, *rest: (passes.append(ids.numel()), run(self, ids, *rest))[1]
    )
    decoder = RowDecoder(model, 8, LlamaForward(model))
    prompts = [[5, *range(2, 2 + length)] for length in (20, 9, 8, 7, 3, 2, 1)]
    decoder.prefill(0, prompts, 32)
    assert passes[0] == 20  # alone, longer than a part
    assert all(tokens <= 16 for tokens in passes[1:])
    ends = np.array([len(prompt) - 1 for prompt in prompts])
    logits = decoder.step(np.array([prompt[-1] for prompt in prompts]), ends)
    for prompt, row in zip(prompts, logits, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
