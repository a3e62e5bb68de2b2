"""What work is counted in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from misstep.cost.expectations import Expectations
from misstep.plan import params as p

_CHARACTERS_A_TOKEN = 4
"""For templates and examples; English with a tokenizer of 30,000 entries or more."""
_CHAT_TOKENS = 20
"""What a chat template adds around a turn, about."""


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
    """Prompt tokens read before sampling; a prompt once for all its samples."""
    trained: float = 0.0
    """Tokens that pass forward and backward, padding aside; what both sides of a pair begin with once."""
    most_trained: int = 0
    scored: float = 0.0
    """Tokens that pass forward only: the reference's log-probabilities in DPO."""

    @property
    def tokens(self) -> float:
        """Everything that passes through the model."""
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
    """Tokens of texts that no tokenizer is at hand for, and of the chat template around so many turns."""
    return sum(map(len, texts)) / _CHARACTERS_A_TOKEN + turns * _CHAT_TOKENS
