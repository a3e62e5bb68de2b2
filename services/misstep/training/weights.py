"""The trained weights of a model, kept in a file while training goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_trained(model: nn.Module, file: Path) -> None:
    """Write every parameter that is trained, once however many layers share it."""
    tensors = {name: weight.detach().contiguous().cpu() for name, weight in _trained(model).items()}
    save_file(tensors, file)


def load_trained(model: nn.Module, file: Path) -> None:
    """Put a file's weights into the model that they came from."""
    saved = load_file(file)
    with torch.no_grad():
        for name, weight in _trained(model).items():
            weight.copy_(saved[name])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
