"""Distinguish causal language models from other kinds of models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.models.adapters import command

_HEAD = re.compile(r"For(?!CausalLM)([A-Z]\w*)$")
_REWARD = re.compile(r"Reward|ValueHead|Critic")
_FIX = "Use a causal language model: one whose architecture in config.json ends in ForCausalLM or LMHeadModel."


def check_architecture(config: Mapping[str, Any], folder: Path, field: str) -> None:
    """Refuse a model that is not a causal language model according to the architecture's name in config.json.

    ``causal_model`` checks what names do not show.

    Raises:
        BadInput: a classifier, a reward model, an encoder or a model with encoder and decoder.
    """
    held = config.get("architectures")
    for name in held if isinstance(held, list) else ():
        if (match := _HEAD.search(str(name))) is None and not _REWARD.search(str(name)):
            continue
        if match is not None and match[1] == "ConditionalGeneration" and not config.get("is_encoder_decoder"):
            continue  # multimodal: transformers decides whether its language model loads alone
        raise BadInput(field, f"{name} is {_what(str(name))}, not a causal language model ({folder})", _FIX)


def _what(name: str) -> str:
    if _REWARD.search(name):
        return "a reward or value model"
    head = _HEAD.search(name)
    return {
        "SequenceClassification": "a classifier or reward model",
        "TokenClassification": "a classifier of tokens or a process reward model",
        "ConditionalGeneration": "a model with an encoder and a decoder",
        "MaskedLM": "an encoder",
    }.get(head[1] if head else "", "a model for another task")


def causal_model(config: Any, folder: Path, field: str) -> tuple[type[Any], Any]:
    """Return transformers' class for a causal language model of this configuration, and the configuration of that
    class.

    For some multimodal models that is the configuration of the text part.

    Args:
        config: the loaded configuration.

    Raises:
        BadInput: there is no such class, the model is or has an encoder, or it is multimodal and its language model
            cannot be loaded alone.
    """
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

    kind = config.model_type
    text = config.get_text_config(decoder=True)
    multimodal = text is not config and "text_config" in config.sub_configs
    if type(config) not in AutoModelForCausalLM._model_mapping:
        seen = f"a multimodal model of type {kind}" if multimodal else f"a model of type {kind}"
        raise BadInput(field, f"{seen} is not a causal language model in transformers ({folder})", _FIX)
    if getattr(config, "is_encoder_decoder", False):
        raise BadInput(field, f"a model of type {kind} with an encoder and a decoder ({folder})", _FIX)
    if kind in ENCODERS and getattr(config, "is_decoder", True) is False:
        raise BadInput(
            field, f"a model of type {kind} that is an encoder: is_decoder is not true in config.json ({folder})", _FIX
        )
    found: type[Any] = AutoModelForCausalLM._model_mapping[type(config)]
    if isinstance(found, tuple):
        found = found[0]
    if multimodal and found.config_class is not type(text):
        raise BadInput(
            field,
            f"a multimodal model of type {kind}: {found.__name__} ({folder})",
            f"Only language models are trained: {_extraction(kind, folder)}",
        )
    return found, text if found.config_class is type(text) else config


def _extraction(kind: str, folder: Path) -> str:
    """Return how to get only the language model of a multimodal model: a command, if one has been tested."""
    if kind != "gemma3":
        return "give its language model alone, saved to another folder, or a model for text."
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        "whole, out = sys.argv[1:]; "
        "m = M.from_pretrained(whole, dtype='auto'); t = M.from_config(m.config.get_text_config(), dtype=m.dtype); "
        "t.model, t.lm_head = m.model.language_model, m.lm_head; t.save_pretrained(out); "
        "T.from_pretrained(whole).save_pretrained(out)"
    )
    out = str(folder).rstrip("/") + "-text"
    return f"write its language model alone, {command(code, str(folder), out)} and then name {out}."
