"""The interface of engines that continue prompts.

Prompts are token ids. Each sample has its own seed, so it does not depend on the batch, the sharding or restarts (up to
floating-point ties between tokens: a batch of another shape may round differently). Callers may submit more requests
while they read results, as adaptive credit does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from misstep.errors import BadInput

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and its number of samples: one for each of ``seeds`` (64-bit)."""

    request_id: Any
    """The caller's id, returned with the result."""
    prompt_ids: Sequence[int]
    seeds: Sequence[int]
    max_new_tokens: int | None = None
    """A limit below that of the decoding, if a prefix has already used part of the response's tokens."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample of a request."""

    token_ids: tuple[int, ...]
    """The generated ids, including the end token (or the tokens that complete a stop string)."""
    text: str
    """Decoded without special tokens, cut before a stop string."""
    finish_reason: FinishReason
    logprob: float | None = None
    """Sum of the generated tokens' log-probabilities under the decoding distribution at temperature 1, in nats; None if
    the engine does not report it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Prompt tokens of the samples so far, counted once per sample, and those among them whose keys and values were
    cached from another sample."""

    prefill_tokens: int = 0
    cached_prefill_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prefill_tokens + other.prefill_tokens, self.cached_prefill_tokens + other.cached_prefill_tokens
        )

    def since(self, before: Usage) -> dict[str, int]:
        """Return the difference to an earlier count, for a block's summary."""
        return {
            "prefill_tokens": self.prefill_tokens - before.prefill_tokens,
            "cached_prefill_tokens": self.cached_prefill_tokens - before.cached_prefill_tokens,
        }


class Engine(Protocol):
    """An engine that continues prompts."""

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
        """Prompt tokens of all finished requests."""

    @property
    def overlaps(self) -> bool:
        """Whether to queue a block's requests before the last ones of the previous block are finished. False if a
        sample's last bits would then depend on where a run was interrupted."""

    @property
    def batch_rows(self) -> int:
        """Samples decoded at once."""

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return the log-probability of given tokens, without sampling.

        Args:
            texts: prompts, each with the token ids of a response to it.

        Returns:
            For each response one number for each of its tokens: in nats, at temperature 1.
        """

    def submit(self, request: Request) -> None:
        """Queue a request. Raises BadInput if the prompt leaves no room in the context."""

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        """Yield each request once all its samples are done, in no fixed order, until nothing is queued. More may be
        submitted while iterating."""

    def close(self) -> None: ...


def token_limit(request: Request, context: int, vocabulary: int, most: int) -> int:
    """Return how many tokens each sample of a request may have; zero or less if none are left.

    Args:
        context: the most tokens of prompt and response that the model supports.
        vocabulary: number of token ids that the model knows.
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
