"""What Misstep asks of an engine that continues prompts, whatever stands behind it.

Prompts are token ids. Each sample has a seed of its own, so that it comes out the same whatever else is in the
batch, how work was sharded, or whether a run was restarted (up to floating-point ties between tokens: a batch of
another shape may round differently). Callers may submit more while they read results: adaptive credit does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from misstep.errors import BadInput

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
    logprob: float | None = None
    """Sum over the generated tokens of the log-probability under the decoding distribution at temperature 1, nats;
    None where the engine does not report it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Prompt tokens that the samples so far needed read, each counted once a sample, and those among them whose keys
    and values were still in a cache from another sample."""

    prefill_tokens: int = 0
    cached_prefill_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prefill_tokens + other.prefill_tokens, self.cached_prefill_tokens + other.cached_prefill_tokens
        )

    def since(self, before: Usage) -> dict[str, int]:
        """Return what came after an earlier moment, for a block's summary."""
        return {
            "prefill_tokens": self.prefill_tokens - before.prefill_tokens,
            "cached_prefill_tokens": self.cached_prefill_tokens - before.cached_prefill_tokens,
        }


class Engine(Protocol):
    """Anything that continues prompts."""

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens at which sampling stops."""

    @property
    def context_length(self) -> int: ...

    @property
    def usage(self) -> Usage:
        """What all finished requests took of prompts."""

    @property
    def overlaps(self) -> bool:
        """Whether a block's requests should be queued before the last ones of the block before are finished. False
        where a sample's last bits would then depend on where a run was interrupted."""

    def submit(self, request: Request) -> None:
        """Queue a request. Raises BadInput where the prompt leaves no room in the context."""

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        """Yield each request once all its samples are done, in no fixed order, until nothing is queued. More may be
        submitted while iterating."""

    def close(self) -> None: ...


def token_limit(request: Request, context: int, vocabulary: int, most: int) -> int:
    """Return how many tokens each sample of a request may have; zero or less where it is left none.

    Args:
        context: tokens of prompt and response that the model takes.
        vocabulary: token ids that the model knows.
        most: the decoding's own limit of new tokens.

    Raises:
        BadInput: the prompt is empty, leaves no room in the context, or holds ids outside the vocabulary.
    """
    prompt = request.prompt_ids
    room = context - len(prompt)
    if len(prompt) == 0 or room < 1:
        raise BadInput(
            "prompt",
            f"{len(prompt)} tokens (request {request.request_id!r})",
            f"Use one of 1 to {context - 1} tokens: the model's context is {context}.",
        )
    if not 0 <= min(prompt) <= max(prompt) < vocabulary:
        raise BadInput(
            "prompt",
            f"token ids {min(prompt)} to {max(prompt)} (request {request.request_id!r})",
            f"The model knows {vocabulary} tokens: use the tokenizer that it was trained with.",
        )
    return min(room, most, most if request.max_new_tokens is None else request.max_new_tokens)
