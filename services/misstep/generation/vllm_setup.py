"""Start vLLM with what a stage was given, and say plainly why it does not start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.plan.frozen import Resources
    from misstep.plan.params import DecodingParams

_OWN_ARGUMENTS = {
    "model": "spec.policy.model",
    "tokenizer": "spec.policy.model",
    "dtype": "spec.sampling.dtype",
    "seed": "spec.seeds",
    "max_num_seqs": "spec.resources.sample.batchRows",
    "tensor_parallel_size": "spec.resources.sample.gpus",
    "gpu_memory_utilization": "spec.resources.sample.gpuMemoryPercent",
}
"""Arguments that follow from other fields of the Experiment."""
_CPU_PROCESS_MIB = 1024
"""What a process takes on a CPU beside weights and cache: Python, torch, vLLM (measured: 0.9 GiB)."""
_CPU_BATCH_TOKENS = 16_384
_MIB = 1024 * 1024


def open_vllm(model_folder: Path, decoding: DecodingParams, resources: Resources) -> Any:
    """Return vLLM's ``LLMEngine`` for a model folder.

    Raises:
        BadInput: vLLM is not installed, does not support the model, refuses an argument, or has too little memory.
    """
    given = dict(parse_arguments(decoding.engine_args))
    _set_environment(resources)
    try:
        from vllm import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
    except ImportError as error:
        raise BadInput(
            "spec.sampling.engine",
            "vllm",
            f"vLLM cannot be imported here ({error}). Install it (`make vllm` on a CPU, locks/vllm-gpu.txt on a GPU), "
            "or use the engine transformers.",
        ) from error
    unknown = sorted(given.keys() - EngineArgs.__dataclass_fields__.keys())
    if unknown:
        raise BadInput("spec.sampling.vllmArgs", unknown[0], "vLLM's engine has no argument of this name.")
    arguments = {**_arguments(model_folder, decoding, resources), **given}
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    # pydantic's errors are ValueErrors; vLLM asserts on some settings and counts keys that are not there.
    except (ValueError, TypeError, AssertionError, KeyError, NotImplementedError) as error:
        raise refusal(error, given, resources) from error


def parse_arguments(arguments: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Read arguments' values as JSON where they are, else as text.

    Raises:
        BadInput: an argument that another field of the Experiment decides.
    """
    found: dict[str, Any] = {}
    for name, text in arguments:
        if name in _OWN_ARGUMENTS:
            raise BadInput("spec.sampling.vllmArgs", name, f"This follows from {_OWN_ARGUMENTS[name]}: set that field.")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def _set_environment(resources: Resources) -> None:
    """Set what vLLM reads from the environment while it is imported; what the user has set stays."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine's loop runs in this process: no copies between two
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several stages share the machine: the kernel spreads them
        "OMP_NUM_THREADS": str(resources.cpus),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _arguments(model_folder: Path, decoding: DecodingParams, resources: Resources) -> dict[str, Any]:
    common: dict[str, Any] = {
        "model": str(model_folder),
        "dtype": decoding.dtype,
        "max_num_seqs": resources.batch_rows,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
    }
    if resources.gpus:
        return common | {
            "tensor_parallel_size": resources.gpus,
            "gpu_memory_utilization": resources.gpu_memory_percent / 100,
        }
    return common | {
        "enforce_eager": True,  # compiling costs more than the short runs of a small model gain
        "block_size": 32,
        # vLLM 0.32's generators on a CPU fail where a seeded prompt is cut into chunks.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": _CPU_BATCH_TOKENS,
        "kv_cache_memory_bytes": cpu_cache_mib(resources.memory_mib, _weights_mib(model_folder)) * _MIB,
    }


def cpu_cache_mib(memory_mib: int, weights_mib: int) -> int:
    """Return the MiB of a CPU's key-value cache: half of what the process and the weights leave of the stage's
    memory, and 128 at least."""
    return max(128, (memory_mib - _CPU_PROCESS_MIB - weights_mib) // 2)


def _weights_mib(model_folder: Path) -> int:
    return sum(file.stat().st_size for file in model_folder.glob("*.safetensors")) // _MIB


def refusal(error: Exception, given: dict[str, Any], resources: Resources) -> BadInput:
    """Turn vLLM's refusal to start into an error that names the field to change."""
    reason = _reason(error)
    named = next((name for name in given if name in reason), None)
    if named is not None:
        return BadInput("spec.sampling.vllmArgs", f"{named}={given[named]!r}", f"vLLM refuses it: {reason}")
    if "KV cache" in reason:
        fix = "gpuMemoryPercent, or use more gpus" if resources.gpus else "memory"
        return BadInput(
            "spec.resources",
            f"{resources.gpus} GPUs" if resources.gpus else f"{resources.memory_mib} MiB",
            f"Too little memory for the model's context: raise {fix}, or give vllmArgs a max_model_len. {reason}",
        )
    if "divisible" in reason:
        return BadInput("spec.resources.sample.gpus", resources.gpus, f"vLLM cannot split the model so: {reason}")
    return BadInput(
        "spec.sampling.engine", "vllm", f"vLLM does not start with this model: {reason}. Or use the engine transformers"
    )


def _reason(error: Exception) -> str:
    """The sentence that says what is wrong, without pydantic's heading and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = [line for line in lines if "Value error" in line or "Assertion failed" in line] or lines
    return said[0].removeprefix("Value error, ").removeprefix("Assertion failed, ").split(" [type=")[0]
