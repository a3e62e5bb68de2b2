"""The log-probability of given tokens under a causal language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Text = tuple[Sequence[int], Sequence[int]]
"""A prompt, and a response to it."""
_TOKENS = 2048
"""Tokens in one pass: limits its activations."""
_LOGITS = 32 * 1024 * 1024
"""Logits in one pass of several texts, and those that are turned into log-probabilities at once: 128 MiB in float32.
The logits of one long text may be more, in the model's own dtype."""


def token_logprobs(model: PreTrainedModel, texts: Sequence[Text]) -> list[list[float]]:
    """Return the log-probability, in nats and at temperature 1, of every token of each response.

    Texts of similar length are read together. Shorter ones are padded on the right, which no token before the padding
    can see. The shape of a batch changes how sums are rounded, by about 1e-6.

    Raises:
        ValueError: a prompt is empty, so that nothing stands before the first token of its response.
    """
    if not all(prompt for prompt, _ in texts):
        raise ValueError("a prompt has no tokens")
    found: list[list[float]] = [[] for _ in texts]
    for part in _parts(model, texts):
        for at, values in zip(part, _score(model, [texts[at] for at in part]), strict=True):
            found[at] = values
    return found


def _parts(model: PreTrainedModel, texts: Sequence[Text]) -> Iterator[list[int]]:
    """Group the texts that have a response, the longest first, so that a group's first one has its full width."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    lengths = {at: len(prompt) + len(response) for at, (prompt, response) in enumerate(texts) if response}
    part: list[int] = []
    rows = 0
    for at in sorted(lengths, key=lambda at: -lengths[at]):
        if len(part) == rows and part:
            yield part
            part = []
        if not part:
            rows = max(1, min(_TOKENS // lengths[at], _LOGITS // (lengths[at] * vocabulary)))
        part.append(at)
    if part:
        yield part


def _score(model: PreTrainedModel, texts: Sequence[Text]) -> list[list[float]]:
    ids = np.zeros((len(texts), max(len(prompt) + len(response) for prompt, response in texts)), dtype=np.int64)
    for row, (prompt, response) in zip(ids, texts, strict=True):
        row[: len(prompt) + len(response)] = (*prompt, *response)
    with torch.inference_mode():
        tokens = torch.from_numpy(ids).to(model.device)
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        columns = max(1, _LOGITS // (len(texts) * logits.shape[-1]))
        parts = zip(logits.split(columns, dim=1), tokens[:, 1:].split(columns, dim=1), strict=True)
        chosen = torch.cat([_chosen(scores.float(), given) for scores, given in parts], dim=1)
    return [
        row[len(prompt) - 1 : len(prompt) + len(response) - 1]
        for row, (prompt, response) in zip(chosen.tolist(), texts, strict=True)
    ]


def _chosen(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
