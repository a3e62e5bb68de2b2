"""Refuse quantized weights: they cannot be trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.models.weight_files import Tensor

_FIX = "Quantized weights cannot be trained: give the folder with the full weights (bfloat16, float16 or float32)."
_FLOAT8 = "Some models, such as gpt-oss and DeepSeek-V3, are published in {method} only: use a copy in bfloat16."
_LOW_PRECISION = ("fp8", "mxfp4", "fbgemm_fp8", "nvfp4", "modelopt")
_NARROW = re.compile(r"F[468](_|$)")
"""Number types of safetensors with eight bits or fewer, such as F8_E4M3 and F4."""
_PACKED = re.compile(
    r"\.(qweight|qzeros|g_idx|weight_packed|weight_scale|weight_scale_inv|absmax|quant_map|SCB|W_q|scales)$"
    r"|\.quant_state\.|_proj_(blocks|scales)$"
)
"""Names of tensors that quantizers write instead of a weight or in addition to it."""


def check_not_quantized(config: Mapping[str, Any], folder: Path, field: str) -> None:
    """Refuse a configuration that declares quantized weights, of any method, also in the text part.

    Raises:
        BadInput: it has a quantization_config or compression_config.
    """
    for part in (
        config,
        *(config[name] for name in ("text_config", "llm_config") if isinstance(config.get(name), dict)),
    ):
        for name in ("quantization_config", "compression_config"):
            if held := part.get(name):
                raise _refusal(_method(held), f"{name} in config.json", folder, field)


def check_tensors_not_quantized(tensors: Mapping[str, Tensor], folder: Path, field: str) -> None:
    """Refuse files that hold quantized weights which config.json does not declare.

    Raises:
        BadInput: a tensor has a quantizer's name or a type of eight bits or fewer, or a weight has an integer type.
    """
    for name, tensor in tensors.items():
        whole_numbers = name.endswith("weight") and not tensor.dtype.startswith(("F", "BF"))
        if _NARROW.match(tensor.dtype) or whole_numbers:
            raise _refusal(tensor.dtype.lower(), f"{name} in {tensor.file}", folder, field)
        if _PACKED.search(name):
            raise _refusal(None, f"{name} in {tensor.file}", folder, field)


def _method(held: Any) -> str | None:
    if not isinstance(held, dict):
        return None
    method = held.get("quant_method") or held.get("quant_algo") or held.get("format")
    if method is None and (held.get("load_in_4bit") or held.get("load_in_8bit")):
        method = "bitsandbytes"
    return None if method is None else str(method)


def _refusal(method: str | None, where: str, folder: Path, field: str) -> BadInput:
    low = method is not None and (method.lower() in _LOW_PRECISION or "f8" in method or "f4" in method)
    by = "" if method is None else f" by {method}"
    return BadInput(
        field,
        f"weights quantized{by}: {where} ({folder})",
        f"{_FIX} {_FLOAT8.format(method=method)}" if low else _FIX,
    )
