"""Choose next tokens: one counter-based random stream per sample, and inverse-CDF draws from the model's logits.

A draw depends on the row's own seed, on its number of tokens so far, and on its logits, never on other rows of the
batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from misstep.errors import MisstepError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_CHUNK_ELEMENTS = 1 << 22
"""Logits that are converted into float64 probabilities at once: 32 MiB, for any vocabulary."""
_NUCLEUS_GUESS = 256
"""Number of top tokens in which the nucleus is searched before the whole vocabulary is sorted."""


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Apply the finaliser of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195)."""
    for shift, factor in _MIX:
        x = (x ^ (x >> shift)) * factor
    mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def stream_keys(seeds: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Turn 64-bit seeds into keys of streams; neighbouring seeds give unrelated streams."""
    return _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=np.uint64) + _GOLDEN)


def uniforms(keys: npt.NDArray[np.uint64], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return draw number ``positions[i]`` of stream ``keys[i]``: uniform in [0, 1).

    It has 52 random bits, so that a draw times a total is below the total even after rounding.
    """
    steps = (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    return (_mix(keys + steps) >> np.uint64(12)).astype(np.float64) * 2.0**-52


def choose(
    logits: torch.Tensor, draws: npt.NDArray[np.float64], temperature: float, top_p: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Choose one token per row.

    The cumulative distribution is taken in the order of token ids, in float64. ``top_p`` keeps the most probable tokens
    until their mass reaches it, plus all tokens exactly as probable as the last of these.

    Args:
        logits: (rows, vocabulary), any float type.
        draws: (rows,), uniform in [0, 1); unused at temperature 0.
        temperature: 0 takes the most probable token.
        top_p: 1 keeps every token.

    Returns:
        Token ids (rows,) and their log-probabilities at temperature 1 over the whole vocabulary, in nats (rows,).

    Raises:
        MisstepError: because of NaN or infinities, the logits define no distribution.
    """
    rows = max(1, _CHUNK_ELEMENTS // logits.shape[1])
    tokens = np.empty(logits.shape[0], dtype=np.int64)
    logprobs = np.empty(logits.shape[0], dtype=np.float64)
    for start in range(0, logits.shape[0], rows):
        part = slice(start, start + rows)
        token, logprob = _choose(logits[part], draws[part], temperature, top_p)
        tokens[part], logprobs[part] = token.cpu().numpy(), logprob.cpu().numpy()
    return tokens, logprobs


def _choose(
    logits: torch.Tensor, draws: npt.NDArray[np.float64], temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.double()
    top, likeliest = logits.max(dim=-1, keepdim=True)
    logits = logits - top
    weights = logits.exp()
    totals = weights.sum(-1)
    if not bool(totals.isfinite().all()):
        raise MisstepError("The model's logits are not finite: its weights are damaged or its training diverged.")
    if temperature == 0:
        tokens = likeliest[:, 0]
    else:
        scaled = weights if temperature == 1 else (logits / temperature).exp_()
        if top_p < 1:
            scaled = scaled * _nucleus(scaled, top_p)
        tokens = _invert(scaled, torch.from_numpy(draws).to(logits.device))
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - totals.log()


def _invert(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return the first token whose cumulative weight exceeds the draw; a token with weight 0 is never returned."""
    cumulative = weights.cumsum(-1)
    targets = draws[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0]


def _nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Mark the smallest set of most probable tokens whose mass reaches ``top_p``: a boolean (rows, vocabulary)."""
    mass = weights.sum(-1, keepdim=True) * top_p
    width = min(_NUCLEUS_GUESS, weights.shape[1])
    ordered = weights.topk(width, dim=-1).values
    if (ordered.sum(-1, keepdim=True) < mass).any():
        ordered = weights.sort(dim=-1, descending=True).values
    before = ordered.cumsum(-1) - ordered
    last = (before < mass).sum(-1, keepdim=True) - 1
    return weights >= ordered.gather(1, last)
