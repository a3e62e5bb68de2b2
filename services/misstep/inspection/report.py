"""The facts about a model that are known before training, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """The model's text side: its tokenizer, prompt and response."""

    tokenizer: str
    """Class of the tokenizer."""
    read_by: str
    """``class`` or ``file``: how ``tokenizer.json`` was read."""
    vocabulary: int
    """Tokens that the tokenizer knows."""
    style: str
    prompt: str
    """A prompt as the model gets it, with special tokens written out."""
    prompt_tokens: int
    response: str
    """A response as it is used in training, without its end token."""
    response_tokens: int
    """The end token included."""
    end: str
    """The end token of a response."""
    ends: tuple[tuple[int, str], ...]
    """Every token at which sampling stops: (id, text)."""
    steps: tuple[str, ...]
    """The response split into the steps of credit."""


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """One model."""

    folder: str
    architecture: str
    model_type: str
    parameters: int
    trained: int
    tied: int
    dtypes: dict[str, int]
    """Type -> numbers of that type."""
    bytes: int
    files: int
    context: int | None
    """Tokens of prompt and response."""
    embeddings: int
    """Rows of the embedding: ids must be below."""
    text: TextReport | None
    """None for a teacher, which has its own prompts."""
    unusual: tuple[str, ...]
    """Unusual but working properties, as sentences."""
    survival: dict[str, Any] = field(default_factory=dict)
    """Counts of questions and solutions that were checked and lost, if there were any."""

    def as_json(self) -> dict[str, Any]:
        """Return JSON-like data."""
        return asdict(self)
