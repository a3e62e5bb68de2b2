"""Accuracy of a strides model, with transformers' own `generate`, independent of our engine and verifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from misstep.problems.drawing import GeneratedProblem

_BATCH = 250
_MAX_NEW_TOKENS = 60  # nine operations in nine lines and the answer, with its end token, take 39


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[GeneratedProblem],
    temperature: float,
    seed: int = 0,
) -> list[str]:
    """Answer each problem once; temperature 0 is greedy decoding."""
    torch.manual_seed(seed)
    config = GenerationConfig(
        max_new_tokens=_MAX_NEW_TOKENS,
        do_sample=temperature > 0,
        temperature=temperature or None,
        top_k=0 if temperature else None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    responses: list[str] = []
    for begin in range(0, len(problems), _BATCH):
        prompts = [problem.question + "\n" for problem in problems[begin : begin + _BATCH]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            ids = model.generate(**inputs, generation_config=config)
        responses += tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return responses


def accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[GeneratedProblem],
    temperature: float,
) -> float:
    """Return the share of problems whose response ends in the right answer."""
    responses = respond(model, tokenizer, problems, temperature)
    right = [r.split("\n")[-1] == f"#### {p.gold}" for r, p in zip(responses, problems, strict=True)]
    return sum(right) / len(right)
