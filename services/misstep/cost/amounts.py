"""The quantities in which work is counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from misstep.cost.expectations import Expectations
from misstep.plan import params as p

_CHARACTERS_A_TOKEN = 4
"""For templates and examples: English text with a tokenizer of 30,000 entries or more."""
_CHAT_TOKENS = 20
"""Approximate number of tokens that a chat template adds to a turn."""


@dataclass(frozen=True)
class Work:
    """One stage's work. Tokens are those of the whole stage, over all shards and processes."""

    unit: str = ""
    items: float | None = None
    most_items: int | None = None
    generated: float = 0.0
    """Tokens sampled, validation answers during training included."""
    most_generated: int = 0
    read: float = 0.0
    """Prompt tokens read before sampling; a prompt counts once for all its samples."""
    trained: float = 0.0
    """Tokens in forward and backward passes, without padding; the common prefix of a pair counts once."""
    most_trained: int = 0
    scored: float = 0.0
    """Tokens in forward passes only: the reference's log-probabilities in DPO."""

    @property
    def tokens(self) -> float:
        """All tokens that pass through the model."""
        return self.generated + self.read + self.trained + self.scored

    @property
    def most_tokens(self) -> int:
        return self.most_generated + self.most_trained


def prompt_tokens(prompt: p.PromptParams, means: Expectations) -> float:
    """Mean tokens of a prompt: the question, and a quarter of the characters of template, system and examples."""
    texts = [prompt.template.replace("{question}", ""), prompt.system or ""]
    texts += [text for example in prompt.examples for text in example]
    return means.question_tokens + text_tokens(texts, turns=len(prompt.examples) + 1 if prompt.style == "chat" else 0)


def text_tokens(texts: Iterable[str], *, turns: int) -> float:
    """Estimate the tokens of texts without a tokenizer, plus those of the chat template for this many turns."""
    return sum(map(len, texts)) / _CHARACTERS_A_TOKEN + turns * _CHAT_TOKENS
