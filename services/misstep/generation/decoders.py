"""Three ways to run a causal language model over rows: with row buffers (fast), with transformers' own cache (most
models), or with full passes without a cache (slow, and correct by definition). `agreement` chooses among them.

Each prefills a row with its prompt except the last token. That token is the row's first decoding step. So logits are
computed for only one position per row, and rows that share a prompt share its prefill.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from misstep.generation.forward import Forward
from misstep.generation.row_cache import Ints, RowCache

_PREFILL_TOKENS = 1024
"""Prompt tokens in one forward pass: limits its activations for any number and length of prompts."""


class Decoder(Protocol):
    """Rows 0..b-1 are in use; the caller tracks b."""

    joins: bool
    """Whether rows may be added while others are in use. If not, rows are added only to an empty batch, with prompts of
    one length."""

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        """Put prompts, without their last tokens, into rows from ``first`` on; rows will hold up to ``columns``
        tokens."""

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        """Give row ``targets[i]`` the first ``lengths[i]`` tokens of row ``sources[i]``."""

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        """Append a token to each row, at the given position of its text; return the logits after it, (rows,
        vocabulary)."""

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        """Move rows, with the given numbers of tokens, over others; keep the first ``rows``."""

    def clear(self) -> None:
        """Drop all rows and free their memory."""


class RowDecoder:
    """Rows of any length, joining and leaving, over a `RowCache`."""

    joins = True

    def __init__(self, model: PreTrainedModel, rows: int, forward: Forward) -> None:
        self._device, self._dtype = model.device, model.dtype
        self._cache = RowCache(rows)
        self._run = forward

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        self._cache.reserve(columns)
        start = 0
        while start < len(prompts):
            width = max(1, len(prompts[start]) - 1)
            part = prompts[start : start + max(1, _PREFILL_TOKENS // width)]
            self._prefill(first + start, part)
            start += len(part)

    def _prefill(self, first: int, prompts: Sequence[Sequence[int]]) -> None:
        width = max(len(prompt) for prompt in prompts) - 1
        if not width:
            return
        # Padding comes after a row's tokens: none of them attends to it, and decoding overwrites it.
        ids = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt) - 1] = prompt[:-1]
        self._cache.before_prefill(slice(first, first + len(prompts)))
        with torch.inference_mode():
            positions = torch.arange(width, device=self._device).repeat(len(prompts), 1)
            self._run.prefill(self._tensor(ids), positions, self._cache)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        self._cache.copy(sources, targets, int(lengths.max()))

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        width = int(positions.max()) + 1
        with torch.inference_mode():
            at = self._tensor(positions)
            self._cache.before_decode(at, width)
            mask = None
            if int(positions.min()) + 1 < width:
                beyond = torch.arange(width, device=at.device) > at[:, None]
                mask = torch.zeros(beyond.shape, dtype=self._dtype, device=at.device)
                mask = mask.masked_fill_(beyond, float("-inf"))[:, None, None]
            return self._run.step(self._tensor(tokens)[:, None], at[:, None], mask, self._cache)

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        if len(sources):
            self._cache.copy(sources, targets, int(lengths.max()))

    def clear(self) -> None:
        self._cache.clear()

    def _tensor(self, array: Ints) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


class OrdinaryDecoder:
    """Run a model with its own attention and cache, over rows that are all at the same position.

    No row is padded: padding before a text would enter a recurrent state.

    Args:
        model: its forward must take a cache.
        positions: whether to pass positions. Without them some models count from 0 in every pass; other models do not
            count from 0.
        own_cache: whether the model creates the cache, of its own type.

    Raises:
        ValueError: the model does not take a cache in a form that is known here.
    """

    joins = False

    def __init__(self, model: PreTrainedModel, *, positions: bool = False, own_cache: bool = False) -> None:
        self._model = model
        name = next((name for name in ("past_key_values", "cache_params") if takes(model, name)), None)
        if name is None or (positions and not takes(model, "position_ids")):
            raise ValueError("its forward takes no cache, or no positions")
        self._name = name
        self._positions, self._own_cache = positions, own_cache
        self._cache: Any = None
        self._length = 0
        self._keep = _last_only(model)

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        assert first == 0 and len({len(prompt) for prompt in prompts}) == 1
        self._cache = None if self._own_cache else DynamicCache(config=self._model.config)
        self._length = 0
        ids = np.array([prompt[:-1] for prompt in prompts], dtype=np.int64)
        if ids.size:
            self._forward(ids)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        if lengths[0]:
            self._select(_after_fork(sources, targets))

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        return self._forward(tokens[:, None])

    def _forward(self, ids: Ints) -> torch.Tensor:
        with torch.inference_mode():
            tokens = torch.from_numpy(ids).to(self._model.device)
            arguments = {self._name: self._cache, **self._keep}
            if self._positions:
                at = torch.arange(self._length, self._length + ids.shape[1], device=tokens.device)
                arguments["position_ids"] = at.expand(ids.shape)
            out = self._model(input_ids=tokens, use_cache=True, **arguments)
            if self._own_cache:
                self._cache = out[self._name]
        self._length += ids.shape[1]
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        self._select(_after_move(sources, targets, rows))

    def _select(self, index: Ints) -> None:
        with torch.inference_mode():
            rows = torch.from_numpy(index).to(self._model.device)
            if self._own_cache:
                self._cache.batch_select_indices(rows)
            else:
                self._cache.reorder_cache(rows)

    def clear(self) -> None:
        self._cache = None


class FullPassDecoder:
    """Read every row's whole text again for each of its tokens, without a cache and without padding.

    This defines the correct logits. Its cost grows with the square of a text's length.
    """

    joins = False

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._texts: Ints = np.empty((0, 0), dtype=np.int64)

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        assert first == 0 and len({len(prompt) for prompt in prompts}) == 1
        self._texts = np.array([prompt[:-1] for prompt in prompts], dtype=np.int64)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        self._texts = self._texts[_after_fork(sources, targets)]

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        self.append(tokens)
        rows = max(1, _PREFILL_TOKENS // self._texts.shape[1])
        parts = [self._texts[start : start + rows] for start in range(0, len(self._texts), rows)]
        return torch.cat([full_pass(self._model, part) for part in parts])

    def append(self, tokens: Ints) -> None:
        """Append a token to each row without running the model."""
        self._texts = np.concatenate([self._texts, tokens[:, None]], axis=1)

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        self._texts = self._texts[_after_move(sources, targets, rows)]

    def clear(self) -> None:
        self._texts = np.empty((0, 0), dtype=np.int64)


class CachedWhileShort:
    """Use a cache while texts are short, and full passes for longer ones.

    For rotary positions that change with the longest text: beyond some length a cache holds keys whose rotation is no
    longer valid.
    """

    joins = False

    def __init__(self, cached: OrdinaryDecoder, full: FullPassDecoder, tokens: int) -> None:
        self._cached, self._full, self._tokens = cached, full, tokens

    def prefill(self, first: int, prompts: Sequence[Sequence[int]], columns: int) -> None:
        for decoder in (self._cached, self._full):
            decoder.prefill(first, prompts, columns)

    def fork(self, sources: Ints, targets: Ints, lengths: Ints) -> None:
        for decoder in (self._cached, self._full):
            decoder.fork(sources, targets, lengths)

    def step(self, tokens: Ints, positions: Ints) -> torch.Tensor:
        if positions.max() >= self._tokens:
            return self._full.step(tokens, positions)
        self._full.append(tokens)
        return self._cached.step(tokens, positions)

    def move(self, sources: Ints, targets: Ints, lengths: Ints, rows: int) -> None:
        for decoder in (self._cached, self._full):
            decoder.move(sources, targets, lengths, rows)

    def clear(self) -> None:
        for decoder in (self._cached, self._full):
            decoder.clear()


def full_pass(model: PreTrainedModel, texts: Ints) -> torch.Tensor:
    """Return the logits after texts of one length, (rows, vocabulary), from a pass without a cache."""
    with torch.inference_mode():
        ids = torch.from_numpy(texts).to(model.device)
        logits: torch.Tensor = model(input_ids=ids, use_cache=False, **_last_only(model)).logits
        return logits[:, -1]


def _after_fork(sources: Ints, targets: Ints) -> Ints:
    """Return for each row after a fork the row that it copies."""
    index = np.arange(targets.max() + 1)
    index[targets] = sources
    return index


def _after_move(sources: Ints, targets: Ints, rows: int) -> Ints:
    """Return for each remaining row after a move the row that it copies."""
    index = np.arange(rows)
    index[targets] = sources
    return index


def _last_only(model: PreTrainedModel) -> dict[str, Any]:
    """Return the arguments for logits of the last position only, if the model supports them."""
    return {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}


def takes(model: PreTrainedModel, argument: str) -> bool:
    """Return whether a model's forward has an argument of that name."""
    forward = getattr(model, "get_base_model", lambda: model)().forward
    return argument in inspect.signature(forward).parameters
