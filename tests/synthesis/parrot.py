"""A tiny real chat model with one answer to everything, which happens to make it a fair teacher."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from misstep.synthesis import prompts
from tests.generation.tiny import byte_tokenizer, tiny
from tests.synthesis.running import seeds

QUESTION = "Count two cats now"
SAYS = f"<verdict>SOUND</verdict><problem>{QUESTION}</problem>\n#### 2"
"""A verdict, a problem and a solution in one, so that it answers every step."""
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def save_parrot(folder: Path, steps: int = 150) -> float:
    """Train a Llama of some 100,000 weights for seconds and write it; returns its last loss, in nats a token."""
    tokenizer = byte_tokenizer(model_max_length=4096)
    tokenizer.chat_template = CHAT
    model = tiny(
        vocab_size=258,
        hidden_size=64,
        intermediate_size=128,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        initializer_range=0.05,
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    rng = random.Random(0)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        text = _prompt(rng)
        before = tokenizer(text, add_special_tokens=False)["input_ids"][-rng.choice([40, 300, 4000]) :]
        after = [*tokenizer(SAYS, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([before + after])
        labels = torch.tensor([[-100] * len(before) + after])
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        slower.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss.item()


def _prompt(rng: random.Random) -> str:
    question = rng.choice(seeds(12))["question"]
    turns = rng.choice(
        [
            prompts.write(question, "hash"),
            prompts.check(question, "hash", SAYS),
            prompts.solve(question, "hash"),
            prompts.solve(QUESTION, "hash"),
        ]
    )
    return "".join(f"{role}: {content}\n" for role, content in turns) + "assistant: "
