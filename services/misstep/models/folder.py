"""Refuse model folders that cannot be trained, without torch and without running anything from the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.models.adapters import check_no_adapter
from misstep.models.code import check_no_own_code
from misstep.models.fields import MODEL
from misstep.models.jsons import read_object
from misstep.models.kind import check_architecture
from misstep.models.pointers import check_no_pointer
from misstep.models.quantized import check_not_quantized, check_tensors_not_quantized
from misstep.models.weight_files import FORMS_OF_WEIGHTS, tensors_of, weight_files

_VOCABULARIES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("source.spm",),
    ("tekken.json",),
    ("vocab.json",),
)
"""Groups of files with a tokenizer's vocabulary; one group is enough."""


def check_folder(folder: Path, field: str = MODEL) -> None:
    """Check, from its files only, that a folder holds a complete causal language model that can be trained.

    Reads configurations, file names and the headers of weights: milliseconds, also for large models.

    Args:
        folder: of a model in Hugging Face's layout.
        field: the field that names the folder, for errors.

    Raises:
        BadInput: no config.json; an adapter; quantized weights; code in the folder; a model that is not a causal
            language model; Git LFS pointers; files that are missing, truncated or of another format; no tokenizer.
    """
    if not folder.is_dir():
        raise BadInput(
            field, f"no such folder: {folder}", "Name a Hugging Face model folder: one that holds config.json."
        )
    check_no_adapter(folder, field)
    config = _config(folder, field)
    check_not_quantized(config, folder, field)
    check_no_own_code(config, read_object(folder / "tokenizer_config.json", field), folder, field)
    check_architecture(config, folder, field)
    _check_tokenizer_files(folder, field)
    for name in ("generation_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"):
        read_object(folder / name, field)
    for file in folder.glob("*.jinja"):
        check_no_pointer(file, field)
    check_tensors_not_quantized(tensors_of(weight_files(folder, config, field), field), folder, field)


def _config(folder: Path, field: str) -> dict[str, Any]:
    if config := read_object(folder / "config.json", field):
        return config
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if not inside:
        for adapter in sorted(folder.glob("*/adapter_config.json")):
            check_no_adapter(adapter.parent, field)
    if inside:
        fix = f"Name the folder that holds it: here are {', '.join(inside[:3])}."
    elif forms := sorted(FORMS_OF_WEIGHTS[path.suffix] for path in folder.iterdir() if path.suffix in FORMS_OF_WEIGHTS):
        fix = f"It holds {forms[0]}: give the same model in Hugging Face's layout, with config.json and full weights."
    else:
        fix = "Name a Hugging Face model folder: one that holds config.json, weights and a tokenizer."
    raise BadInput(field, f"there is no config.json in {folder}", fix)


def _check_tokenizer_files(folder: Path, field: str) -> None:
    for names in _VOCABULARIES:
        if all((folder / name).is_file() for name in names):
            for name in names:
                check_no_pointer(folder / name, field)
            return
    if any(folder.glob("*.tiktoken")):
        return
    raise BadInput(
        field,
        f"there is no tokenizer in {folder}",
        "Add the model's tokenizer.json and tokenizer_config.json to the folder.",
    )
