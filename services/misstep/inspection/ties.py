"""Weights that are tied in config.json but are two different weights in the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.models.weight_files import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 64
"""The most rows that are compared: two weights that were trained separately differ everywhere."""


def check_tied_weights_are_equal(
    model: PreTrainedModel, files: Sequence[Path], tensors: Mapping[str, Tensor], folder: Path, field: str
) -> None:
    """Refuse files with two different weights that config.json ties.

    transformers then uses both, and vLLM one of them for both: two different models.

    Args:
        model: has the names of the tied weights.
        files: the files with the weights; only safetensors are checked.

    Raises:
        BadInput: two weights that are tied differ in some rows.
    """
    places = {file.name: file for file in files}
    for name, same in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        one, other = tensors.get(name), tensors.get(same)
        if one is None or other is None:
            continue
        if one.shape != other.shape or not _equal(places[one.file], name, places[other.file], same):
            raise BadInput(
                field,
                f"{name} and {same} differ, but config.json ties them ({folder})",
                "Set tie_word_embeddings to false in config.json if both were trained: engines would disagree.",
            )


def _equal(one: Path, name: str, other: Path, same: str) -> bool:
    import torch

    for rows in (slice(0, _ROWS), slice(-_ROWS, None)):
        left, right = _rows(one, name, rows), _rows(other, same, rows)
        if not torch.equal(left, right):
            return False
    return True


def _rows(file: Path, name: str, rows: slice) -> Any:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        part = opened.get_slice(name)
        length = part.get_shape()[0]
        first, last, _ = rows.indices(length)
        return part[first:last]
