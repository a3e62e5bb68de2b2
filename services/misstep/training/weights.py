"""Store the trained weights of a model in a file while training continues."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from misstep.distributed.ranks import world


def save_trained(model: nn.Module, file: Path) -> None:
    """Write every trained parameter, once even if several layers share it.

    Ranks call it together and the first one writes. Weights that are sharded over ranks (ZeRO-3) are gathered one by
    one, so that only the first rank holds all of them, in host memory.
    """
    tensors = {}
    for name, weight in _trained(model).items():
        with _whole(weight):
            if world().first:
                tensors[name] = weight.detach().cpu().contiguous().clone()
    if world().first:
        save_file(tensors, file)


def _whole(weight: nn.Parameter) -> AbstractContextManager[object]:
    if not world().sharded:
        return nullcontext()
    import deepspeed

    gathered: AbstractContextManager[object] = deepspeed.zero.GatheredParameters([weight])
    return gathered


def load_trained(model: nn.Module, file: Path) -> None:
    """Load a file's weights into the model that they came from."""
    saved = load_file(file)
    with torch.no_grad():
        for name, weight in _trained(model).items():
            weight.copy_(saved[name])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
