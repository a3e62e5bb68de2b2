"""Tiny random models and tokenizers, and generation without an engine to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from misstep.plan.params import DecodingParams

END = 1
WORDS = 24


def word_tokenizer(words: int = WORDS, **options: Any) -> PreTrainedTokenizerFast:
    """``<pad>``, ``<eos>`` and words w2, w3, ..."""
    vocabulary = {"<pad>": 0, "<eos>": END} | {f"w{i}": i for i in range(2, words)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", **options)


def byte_tokenizer(merges: Sequence[tuple[str, str]] = (), **options: Any) -> PreTrainedTokenizerFast:
    """Bytes as tokens after ``<pad>`` and ``<eos>``, then merges of them: any text, and characters in pieces."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<eos>", *letters, *("".join(merge) for merge in merges)]
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", **options)


def tiny(kind: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """Build a random model; weights large enough that its next tokens differ in probability."""
    settings: dict[str, Any] = {
        "vocab_size": WORDS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": END,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(settings | changes)))
    return model.to(dtype).eval()


def decoding(**changes: Any) -> DecodingParams:
    settings: dict[str, Any] = {
        "engine": "transformers",
        "dtype": "float32",
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": 12,
    }
    return DecodingParams(**(settings | changes))


def greedy(model: PreTrainedModel, prompt: Sequence[int], tokens: int) -> list[int]:
    """Continue one prompt, without padding, by transformers' own code."""
    config = GenerationConfig(do_sample=False, max_new_tokens=tokens, eos_token_id=END, pad_token_id=0)
    with torch.inference_mode():
        ids = model.generate(torch.tensor([list(prompt)]), generation_config=config)
    new: list[int] = ids[0, len(prompt) :].tolist()
    return new


def logprobs(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> list[float]:
    """Return the log-probability of each token of a response, from one plain forward pass."""
    ids = torch.tensor([[*prompt, *response]])
    with torch.inference_mode():
        scores = model(ids).logits[0].double().log_softmax(-1)
    before = torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
    found: list[float] = scores[before, torch.tensor(list(response))].tolist()
    return found
