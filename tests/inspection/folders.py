"""Tiny model folders, and changes to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from misstep.errors import EXIT_BAD_INPUT, BadInput
from tests.generation.tiny import tiny, word_tokenizer

Tensors = dict[str, torch.Tensor]
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 12345\n"


def model_folder(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    """Write a random model of a kind with a tokenizer of words."""
    tiny(kind, **changes).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def edit(file: Path, **changes: Any) -> None:
    """Change fields of a JSON file; None removes one."""
    held = json.loads(file.read_text()) if file.exists() else {}
    held |= changes
    file.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def edit_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Replace the weights by what a function makes of them."""
    file = folder / "model.safetensors"
    changed = {name: value.contiguous().clone() for name, value in change(load_file(file)).items()}
    save_file(changed, file, {"format": "pt"})


def renamed(rename: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {rename(name): value for name, value in tensors.items()}


def shard(folder: Path, count: int = 3) -> list[Path]:
    """Split the weights into shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files: list[Path] = []
    places: dict[str, str] = {}
    for i in range(count):
        file = folder / f"model-{i + 1:05}-of-{count:05}.safetensors"
        part = dict(list(tensors.items())[i::count])
        save_file(part, file, {"format": "pt"})
        places |= dict.fromkeys(part, file.name)
        files.append(file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return files


def refused(check: Callable[[Path], Any], folder: Path, *words: str) -> str:
    """Return the text of the refusal, which names the field, the folder and all the words."""
    with pytest.raises(BadInput) as caught:
        check(folder)
    error = caught.value
    assert error.exit_code == EXIT_BAD_INPUT
    assert error.field == "spec.policy.model"
    assert error.fix
    text = f"{error.field}: {error.value}. {error.fix}"
    assert "\n" not in text
    for word in (str(folder), *words):
        assert word in text, f"{word!r} is not in {text!r}"
    return text


def with_config(folder: Path, changes: Mapping[str, Any]) -> Path:
    edit(folder / "config.json", **changes)
    return folder
