"""Load the engine that continues prompts: the only module that knows all engines. Each imports its own libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from misstep.generation.engine import Engine
    from misstep.plan.frozen import Resources
    from misstep.plan.params import DecodingParams


def open_engine(model_folder: Path, decoding: DecodingParams, resources: Resources) -> Engine:
    """Load a Hugging Face model folder into the engine that ``decoding`` names.

    Raises:
        BadInput: the model, the tokenizer or the engine's arguments cannot be used.
    """
    if decoding.engine == "vllm":
        from misstep.generation.vllm_engine import VllmEngine

        return VllmEngine(model_folder, decoding, resources)
    from misstep.generation.transformers_engine import load_engine

    return load_engine(
        model_folder, decoding, batch_rows=resources.batch_rows, threads=resources.cpus, gpus=resources.gpus
    )
