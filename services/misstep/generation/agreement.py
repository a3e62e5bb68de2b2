"""Choose how to run a model: the fastest way whose logits equal those of full passes without a cache.

This is measured on the loaded model, with a few short random texts that exercise everything that the engine does to
rows: rows share a prompt, leave, move, and join. Meanwhile attention windows and chunks are narrowed, so that a dozen
tokens exceed them. What short texts cannot show is in the table of `architectures`, which `tools.architectures` makes
with longer texts and tiny models of every type.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import transformers
from transformers import PreTrainedModel

from misstep.generation import architectures
from misstep.generation.decoders import CachedWhileShort, Decoder, FullPassDecoder, OrdinaryDecoder, RowDecoder, takes
from misstep.generation.forward import Forward, LlamaForward, ModelForward
from misstep.generation.probe import Probe

_log = logging.getLogger(__name__)

_LAYERS = {"full_attention", "sliding_attention"}
_ROTARY = {"default", "linear", "llama3", "yarn", "proportional"}
"""Rotary position types that depend only on the position; others also depend on the longest row."""
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size")
_NARROW = 5
_FULL = -1
"""Full passes without a cache."""
_chosen: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()
"""How the models of this process run: an index into ``_ways``, or ``_FULL``."""


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    make: Callable[[int], Decoder]
    """Creates the decoder for a number of rows."""


def decoder_for(model: PreTrainedModel, rows: int) -> Decoder:
    """Choose the fastest way to run a model whose logits equal those of full passes.

    Raises:
        BadInput: a full pass over text fails, or its logits depend on more than the text so far.
    """
    known = known_way(model)
    # Training scores its checkpoints with one model many times: how it runs does not depend on its weights.
    chosen = _chosen.get(model)
    if chosen is None:
        chosen = _choose(model, known)
        if chosen is None:
            return FullPassDecoder(model)  # sampling then raises the error for logits that are not finite
        _chosen[model] = chosen
    if chosen == _FULL:
        return FullPassDecoder(model)
    with _narrow_windows(model):
        way = _ways(model, known)[chosen]
    return _while_positions_hold(model, way.make(rows))


def _choose(model: PreTrainedModel, known: str | None) -> int | None:
    """Return the index in ``_ways`` of the fastest way that agrees, or ``_FULL``; None if logits are not finite."""
    with _narrow_windows(model):
        probe = Probe(model)
        if not probe.finite:
            return None
        if known == "refused":
            raise probe.refusal(architectures.NOTES[model.config.model_type])
        seen = None
        for place, way in enumerate(_ways(model, known)):
            found = probe.disagreement(way.make)
            if found is None:
                return place
            if way.name == "rows":
                _log.info("%s cannot run with rows of different lengths: %s", _name_of(model), found)
            else:
                seen = seen or found
    kind = model.config.model_type
    _log.warning(
        "%s runs without a cache, which is correct but slow: each token reads its whole text again. %s "
        "spec.sampling.engine: vllm, or a model of another type, is faster.",
        _name_of(model),
        f"Observed for models of type {kind}: {architectures.NOTES.get(kind, 'different tokens with a cache.')}"
        if seen is None
        else f"With its cache, {seen}.",
    )
    return _FULL


def _ways(model: PreTrainedModel, known: str | None) -> list[_Way]:
    """Return the ways to try, the fastest first."""
    if known == "full":
        return []
    ways = []
    # For an unknown type it was not tested with long texts whether its attention receives the windows.
    if _fits_rows(model) and (known == "rows" or (known is None and not _windows_of(model))):
        forwards: list[Forward] = [LlamaForward(model)] if LlamaForward.fits(model) else []
        for forward in (*forwards, ModelForward(model)):
            ways.append(_Way("rows", partial(RowDecoder, model, forward=forward)))
    for settings in ({}, {"positions": True}, {"own_cache": True}):
        ways.append(_Way("cache", partial(_ordinary, model, settings)))
    return ways


def _ordinary(model: PreTrainedModel, settings: dict[str, bool], _rows: int) -> Decoder:
    return OrdinaryDecoder(model, **settings)


def known_way(model: PreTrainedModel) -> str | None:
    """Return the fastest way that was correct for models of this type; None if the table lacks it."""
    if transformers.__version__ != architectures.TRANSFORMERS:
        return None
    return architectures.WAYS.get(model.config.model_type)


def _fits_rows(model: PreTrainedModel) -> bool:
    """Return whether a batch may have rows of different lengths: nothing in the model depends on other rows."""
    config = model.config.get_text_config(decoder=True)
    return (
        set(getattr(config, "layer_types", None) or ()) <= _LAYERS
        and positions_alone(config)
        and getattr(model, "_supports_attention_backend", False)
        and takes(model, "logits_to_keep")
    )


def positions_alone(config: Any) -> bool:
    """Return whether a token's rotary position depends only on its own position, not on the longest row of the
    batch."""
    return {part["rope_type"] for part in _rotary_of(config)} <= _ROTARY


def _rotary_of(config: Any) -> list[dict[str, Any]]:
    rotary = getattr(config, "rope_parameters", None) or {}
    return [part for part in (rotary, *rotary.values()) if isinstance(part, dict) and "rope_type" in part]


def _while_positions_hold(model: PreTrainedModel, decoder: Decoder) -> Decoder:
    """Limit a decoder to the lengths at which the rotation of cached keys stays valid."""
    config = model.config.get_text_config(decoder=True)
    if positions_alone(config):
        return decoder
    assert isinstance(decoder, OrdinaryDecoder)  # rows are used only with positions that stay valid
    limits = [part.get("original_max_position_embeddings") for part in _rotary_of(config)]
    limits += [getattr(config, f"{which}max_position_embeddings", None) for which in ("original_", "")]
    return CachedWhileShort(decoder, FullPassDecoder(model), min((int(n) for n in limits if n), default=0))


def _windows_of(model: PreTrainedModel) -> list[tuple[Any, str, int]]:
    """Return (owner, attribute, tokens) of every limit on what a token attends to, in the configuration and in
    modules."""
    owners = [model.config, model.config.get_text_config(decoder=True), *model.modules()]
    found = [(owner, name, vars(owner).get(name)) for owner in owners for name in _WINDOWS]
    return [(owner, name, size) for owner, name, size in found if isinstance(size, int) and not isinstance(size, bool)]


@contextmanager
def _narrow_windows(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block, narrow the model's attention windows, if it has any, to a few tokens."""
    windows = _windows_of(model)
    for owner, name, size in windows:
        setattr(owner, name, min(size, _NARROW))
    try:
        yield
    finally:
        for owner, name, size in windows:
            setattr(owner, name, size)


def _name_of(model: PreTrainedModel) -> str:
    return str(model.config.name_or_path or f"The {model.config.model_type} model")
