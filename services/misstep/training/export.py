"""Write a model in memory to a Hugging Face folder, and check that it loads."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from misstep.distributed.ranks import load_whole_models
from misstep.errors import BadInput, MisstepError
from misstep.generation.loading import load_model
from misstep.inspection.writing import rehearse_writing, savable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)
_PROBE_ROWS = 4
_PROBE_TOKENS = 64


@dataclass(frozen=True)
class InitialModel:
    """The model that training starts from, with its tokenizer and configurations.

    TRL's trainers change special tokens in configurations and tokenizer for their own use; a written model has those of
    the original folder.
    """

    folder: Path
    model: PreTrainedModel
    tokenizer: Any
    config: Any
    generation_config: Any

    @classmethod
    def load(cls, folder: Path) -> InitialModel:
        """Load a model folder in float32, the type in which weights are trained.

        What will be written beside the weights is written to a temporary folder and read again, before any training.

        Raises:
            BadInput: the folder does not load, or its settings cannot be written unchanged.
        """
        model, tokenizer = load_model(folder, "float32")
        for sentence in rehearse_writing(folder, "model").unusual:
            _log.warning("%s", sentence)
        for how_it_was_loaded in ("is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(how_it_was_loaded, None)
        generation_config, _ = savable(model.generation_config, folder, "model")
        return cls(folder, model, tokenizer, copy.deepcopy(model.config), generation_config)

    def load_whole(self) -> PreTrainedModel:
        """Load the whole model again in this process, for a ``model`` that is sharded over several (ZeRO-3)."""
        load_whole_models()
        model, _ = load_model(self.folder, "float32")
        return model

    def trainers_tokenizer(self) -> Any:
        """Return a copy for a trainer, which changes its padding settings."""
        return copy.deepcopy(self.tokenizer)


def export_model(
    start: InitialModel, model: Any, dtype: str, probe: Sequence[Sequence[int]], folder: Path
) -> dict[str, Path]:
    """Write the model with the start's tokenizer and configurations, load it again and compare.

    Args:
        model: the trained one; adapters are merged into it.
        dtype: the type of the written weights.
        probe: token ids of some rows; both models must give their next tokens the same logits.
        folder: where to write; must not exist yet.

    Returns:
        Path inside the artifact, under the folder's name (``model/...``) -> file. Equal weights give equal bytes.

    Raises:
        BadInput: the weights are not finite: training diverged in its last step.
        MisstepError: the written model differs from the one in memory when it is loaded.
    """
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.__dict__.pop("forward", None)  # wrappers that TRL and accelerate put on the instance
    model = model.to("cpu").eval()
    for weight in model.parameters():  # not the buffers: transformers keeps those of rotary positions in float32
        weight.data = weight.data.to(getattr(torch, dtype))
    model.config, model.generation_config = copy.deepcopy(start.config), copy.deepcopy(start.generation_config)
    model.config.dtype = model.dtype
    expected = _logits(model, probe)
    if not torch.isfinite(expected).all():
        raise BadInput(
            "learningRate (spec.training)",
            "the trained weights give logits that are not finite",
            "Training diverged in its last step: lower it.",
        )
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    start.tokenizer.save_pretrained(folder)
    again, tokenizer = load_model(folder, dtype)
    if tokenizer.eos_token_id != start.tokenizer.eos_token_id or len(tokenizer) != len(start.tokenizer):
        raise MisstepError(f"the tokenizer written to {folder} differs when it is loaded again")
    found = _logits(again, probe)
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
        worst = (found - expected).abs().max().item()
        raise MisstepError(f"the model written to {folder} differs when it is loaded again: logits by {worst:.3g}")
    return {f"{folder.name}/{file.relative_to(folder)}": file for file in sorted(folder.rglob("*")) if file.is_file()}


def _logits(model: PreTrainedModel, probe: Sequence[Sequence[int]]) -> torch.Tensor:
    with torch.inference_mode():
        rows = [np.asarray(ids[:_PROBE_TOKENS], dtype=np.int64)[None] for ids in probe[:_PROBE_ROWS]]
        logits = [model(input_ids=torch.from_numpy(row)).logits[0].float() for row in rows]
    return torch.cat(logits)
