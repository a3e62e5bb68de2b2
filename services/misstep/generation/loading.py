"""Load a Hugging Face model folder, and report clearly why one does not load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from misstep.errors import BadInput
from misstep.generation.tokenizers import UNLOADABLE, first_line, load_tokenizer
from misstep.models.folder import check_folder
from misstep.models.kind import causal_model
from misstep.models.mismatch import unused_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_UNLOADABLE = (*UNLOADABLE, SafetensorError)
"""What transformers raises for folders that are missing, incomplete, of an unknown kind or with wrong shapes."""
_NO_LIMIT = 10**9
"""Tokenizers without a length have 10^30."""


def load_model(folder: Path, dtype: str) -> tuple[PreTrainedModel, Any]:
    """Load model and tokenizer from a local folder. The model is in evaluation mode, with every weight from the folder.

    Raises:
        BadInput: the folder does not load, cannot be trained (``check_folder``), lacks weights or a tokenizer, has
            weights that the model does not use, or the dtype is not supported.
    """
    if dtype not in _DTYPES:
        raise BadInput("decoding.dtype", dtype, f"Use one of {', '.join(_DTYPES)}.")
    check_folder(folder, "model")
    config = load_config(folder)
    causal_model(config, folder, "model")
    tokenizer = load_tokenizer(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=_DTYPES[dtype],
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except _UNLOADABLE as error:
        raise BadInput(
            "model", str(folder), f"It does not load as a causal language model: {first_line(error)}"
        ) from error
    # transformers silently fills missing weights with random numbers.
    lacks = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if lacks:
        raise BadInput(
            "model",
            str(folder),
            f"{len(lacks)} of its weights are missing or have the wrong shape, such as {lacks[0]}.",
        )
    if unused := unused_weights(report["unexpected_keys"]):
        raise BadInput(
            "model",
            str(folder),
            f"{len(unused)} of its weights have no place in the model that config.json builds, such as {unused[0]}.",
        )
    model.generation_config = load_generation_config(folder)
    return model.eval(), tokenizer


def load_config(folder: Path) -> Any:
    """Load a model folder's configuration.

    A padding id outside the embedding, with which no model can be built, is removed: padding is masked.

    Raises:
        BadInput: there is no configuration that transformers knows.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except StrictDataclassError as error:
        raise BadInput(
            "model", str(folder), f"Its config.json does not load: {' '.join(str(error).split())}"
        ) from error
    except _UNLOADABLE as error:
        raise BadInput("model", str(folder), f"Its config.json does not load: {first_line(error)}") from error
    text = config.get_text_config(decoder=True)
    padding, size = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if isinstance(padding, int) and isinstance(size, int) and not 0 <= padding < size:
        text.pad_token_id = None
    return config


def load_generation_config(folder: Path, field: str = "model") -> GenerationConfig:
    """Load a model folder's generation settings: from their own file, else from config.json.

    An end token that is in neither file is ignored: the default of the architecture's configuration (2 for Llama) is an
    ordinary token in other vocabularies.

    Raises:
        BadInput: a file does not load, or has an invalid token id.
    """
    own = (folder / "generation_config.json").is_file()
    file = "generation_config.json" if own else "config.json"
    try:
        found: GenerationConfig = GenerationConfig.from_pretrained(
            folder, config_file_name=file, local_files_only=True, **({} if own else {"_from_model_config": True})
        )
    except (*_UNLOADABLE, AttributeError) as error:
        raise BadInput(field, f"{file} does not load: {first_line(error)} ({folder})", "Correct the file.") from error
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        held = getattr(found, name)
        ids = held if isinstance(held, list) else [] if held is None else [held]
        whole = all(isinstance(number, int) and not isinstance(number, bool) for number in ids)
        # In some folders -1 means no token: harmless for padding, but sampling cannot stop at it.
        if not whole or (name == "eos_token_id" and any(number < 0 for number in ids)):
            raise BadInput(field, f"{name} in {file} is {held!r} ({folder})", "Write a token's id, or a list of ids.")
    return found


def check_end_token(tokenizer: Any) -> None:
    """Refuse a tokenizer without an end token: no sample would ever end. Raises BadInput."""
    if tokenizer.eos_token_id is None:
        raise BadInput(
            "model", getattr(tokenizer, "name_or_path", ""), "Its tokenizer has no end token: set eos_token."
        )


def context_length_of(config: Any, tokenizer: Any) -> int:
    """Return how many tokens of prompt and response a model supports.

    Raises:
        BadInput: neither the model's configuration nor the tokenizer has it.
    """
    if (length := declared_context_length(config)) is not None:
        return length
    if tokenizer.model_max_length < _NO_LIMIT:
        return int(tokenizer.model_max_length)
    raise BadInput(
        "model",
        getattr(config, "name_or_path", ""),
        "Set max_position_embeddings in config.json: the context is unknown.",
    )


def declared_context_length(config: Any) -> int | None:
    """Return how many tokens a model supports according to its configuration; None if that does not say."""
    text = config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = getattr(text, name, None)
        if isinstance(length, int) and length > 0:
            return length
    return None
