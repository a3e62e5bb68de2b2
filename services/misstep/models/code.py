"""Detect models that need code from their own folder, because transformers does not have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from misstep.errors import BadInput

_NEVER = "Misstep never runs code from a model's folder"


def check_no_own_code(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any], folder: Path, field: str) -> None:
    """Refuse a folder whose model or tokenizer class is defined in the folder.

    Many folders still have code (``auto_map``) from before transformers had the same class; they pass.

    Args:
        config: the contents of config.json.
        tokenizer_config: the contents of tokenizer_config.json.

    Raises:
        BadInput: transformers does not know the model type, the model's class or the tokenizer's class.
    """
    own = _auto_map(config)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise BadInput(
            field,
            f"config.json names no model_type ({folder})",
            "Give a folder in Hugging Face's layout; its config.json says model_type, such as llama or qwen2.",
        )
    if not _known_type(model_type):
        raise _unknown_type(model_type, bool(own), folder, field)
    model_class = own.get("AutoModelForCausalLM") or (next(iter(_architectures(config)), None) if own else None)
    if model_class and not _known_class(_class_name(model_class)):
        raise BadInput(
            field,
            f"its model needs the folder's own code: {_class_name(model_class)}, in {_file_of(model_class)} ({folder})",
            f"{_NEVER}. Use a model whose class is part of transformers {_version()}.",
        )
    _check_tokenizer(config, tokenizer_config, folder, field)


def _check_tokenizer(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any], folder: Path, field: str) -> None:
    named = tokenizer_config.get("auto_map") or {}
    named = named.get("AutoTokenizer") if isinstance(named, dict) else named
    named = named or _auto_map(config).get("AutoTokenizer") or ()
    classes = [named] if isinstance(named, str) else [name for name in named if isinstance(name, str)]
    if classes and not any(_known_class(_class_name(name)) for name in classes):
        raise BadInput(
            field,
            f"its tokenizer needs the folder's own code: {_class_name(classes[0])}, in {_file_of(classes[0])} "
            f"({folder})",
            f"{_NEVER}. If tokenizer.json is complete, remove auto_map and set tokenizer_class to "
            "PreTrainedTokenizerFast in tokenizer_config.json; else use another model.",
        )


def _unknown_type(model_type: str, own_code: bool, folder: Path, field: str) -> BadInput:
    if own_code:
        return BadInput(
            field,
            f"its model type {model_type!r} needs the folder's own code ({folder})",
            f"{_NEVER}, and transformers {_version()} has none for this type: use a model of a type that it knows.",
        )
    return BadInput(
        field,
        f"transformers {_version()} knows no model type {model_type!r} ({folder})",
        "Correct model_type in config.json where it is misspelt; else use a model of a type that this version knows.",
    )


def _auto_map(config: Mapping[str, Any]) -> dict[str, Any]:
    held = config.get("auto_map")
    return held if isinstance(held, dict) else {}


def _architectures(config: Mapping[str, Any]) -> Iterable[str]:
    held = config.get("architectures")
    return [name for name in held if isinstance(name, str)] if isinstance(held, list) else []


def _class_name(reference: str) -> str:
    """Return ``C`` of ``repository--module.C``."""
    return reference.rpartition(".")[2]


def _file_of(reference: str) -> str:
    module = reference.rpartition("--")[2].rpartition(".")[0]
    return f"{module}.py" if module else "a file that config.json does not name"


def _known_type(model_type: str) -> bool:
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    if model_type in CONFIG_MAPPING_NAMES:
        return True
    # The module that uses the mapping adds a few more types. It imports torch, so it is checked last.
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _known_class(name: str) -> bool:
    return _plain(name) in _classes()


@cache
def _classes() -> frozenset[str]:
    import transformers

    return frozenset(_plain(name) for name in dir(transformers))


def _plain(name: str) -> str:
    """Normalise a class name: MPTForCausalLM and MptForCausalLM are the same class, outside and in transformers."""
    return name.replace("_", "").casefold().removesuffix("fast")


def _version() -> str:
    import transformers

    return str(transformers.__version__)
