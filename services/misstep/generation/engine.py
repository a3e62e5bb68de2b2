"""What Misstep asks of an engine that continues prompts, whatever stands behind it.

Prompts are token ids. Each sample has a seed of its own, so that it comes out the same whatever else is in the
batch, how work was sharded, or whether a run was restarted (up to floating-point ties between tokens: a batch of
another shape may round differently). Callers may submit more while they read results: adaptive credit does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how many samples of it are wanted: as many as ``seeds`` (64-bit, one per sample)."""

    request_id: Any
    """The caller's own handle, returned with the result."""
    prompt_ids: Sequence[int]
    seeds: Sequence[int]
    max_new_tokens: int | None = None
    """Below the decoding's own limit, where a prefix has already used part of the response's tokens."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample of a request."""

    token_ids: tuple[int, ...]
    """The generated ids, the end token (or the tokens that complete a stop string) included."""
    text: str
    """Decoded without special tokens, cut before a stop string."""
    finish_reason: FinishReason
    logprob: float
    """Sum over the generated tokens of the log-probability under the decoding distribution at temperature 1, nats."""


class Engine(Protocol):
    """Anything that continues prompts."""

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""

    @property
    def context_length(self) -> int: ...

    def submit(self, request: Request) -> None:
        """Queue a request. Raises BadInput where the prompt leaves no room in the context."""

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        """Yield each request once all its samples are done, in no fixed order, until nothing is queued. More may be
        submitted while iterating."""

    def close(self) -> None: ...
