"""Pre-training of the quickstart's base model: repeating sequences, then solving strides, mostly badly.

The base must be able to reason in small strides, but rarely do so: most of its solutions do all operations in one line,
which a model of this size cannot compute. Fine-tuning and learning from mistakes then add less a new skill than the
habit of using it, as in the language models of the study.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from misstep.problems.strides import MAX_LENGTH, StridesTask, draw_strides
from quickstart.tokenizer import SPECIAL

IGNORED = -100
Row = tuple[list[int], list[int]]
"""Prompt and completion as token ids; only the completion has loss."""


@dataclass(frozen=True)
class Recipe:
    """The recipe of the base; the numbers are from trials that the model card summarises."""

    seed: int = 0
    repeat_steps: int = 150
    steps: int = 2200
    batch: int = 64
    learning_rate: float = 3e-3
    blurts: float = 0.72  # share of solutions that do every operation in one line
    strides: tuple[float, ...] = (0.6, 0.4)  # weights of one and two operations per line in the others
    lengths: tuple[int, int] = (1, MAX_LENGTH)  # operations of a problem
    repeats: float = 0.05  # share of repeat-sequence rows among the problems, so that copying stays sharp


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Make the untrained model: 0.32M parameters, one KV head, heads of 32 as vLLM's CPU kernels need."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=128,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pretrain(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, progress: Callable[[str], None]) -> LlamaForCausalLM:
    """Train a new model by the recipe, on the pretrain split only."""
    model = new_model(tokenizer, recipe.seed)
    repeats = _repeats(random.Random(recipe.seed), tokenizer)
    problems = _problems(recipe, tokenizer, repeats)
    for rows, steps in ((repeats, recipe.repeat_steps), (problems, recipe.steps)):
        for step, loss in _train(model, rows, steps, recipe, tokenizer.pad_token_id):
            progress(f"step {step}/{steps}, loss {loss:.3f}")
    return model.eval()


def _repeats(rng: random.Random, tokenizer: PreTrainedTokenizerFast) -> Iterator[Row]:
    while True:
        sequence = [rng.randrange(len(SPECIAL), len(tokenizer)) for _ in range(rng.randint(5, 12))]
        yield sequence, [*sequence, tokenizer.eos_token_id]


def _problems(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, repeats: Iterator[Row]) -> Iterator[Row]:
    task = StridesTask(lengths=recipe.lengths)
    for walk, rng in task.draws("pretrain", recipe.seed):
        if rng.random() < recipe.repeats:
            yield next(repeats)
            continue
        length = len(walk.operations)
        strides = [length] if rng.random() < recipe.blurts else draw_strides(rng, recipe.strides, length)
        question, solution = tokenizer([walk.question + "\n", walk.solution(strides)])["input_ids"]
        yield question, [*solution, tokenizer.eos_token_id]


def _train(
    model: LlamaForCausalLM,
    rows: Iterator[Row],
    steps: int,
    recipe: Recipe,
    pad: int,
) -> Iterator[tuple[int, float]]:
    """Train for this many steps; yield the step and its loss from time to time."""
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.1)
    warm_up = max(5, int(0.06 * steps))
    model.train()
    for step in range(steps):
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / warm_up) * cosine
        ids, labels = _batch([next(rows) for _ in range(recipe.batch)], pad)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            yield step + 1, loss.item()


def _batch(rows: list[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for index, (prompt, completion) in enumerate(rows):
        end = len(prompt) + len(completion)
        ids[index, :end] = torch.tensor(prompt + completion)
        labels[index, len(prompt) : end] = torch.tensor(completion)
    return ids, labels
