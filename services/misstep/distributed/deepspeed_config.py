"""Convert the stage's parameters and resources to DeepSpeed's configuration. Pure: no value is left to be filled in
later."""

from __future__ import annotations

from typing import Any

from misstep.plan.params import OptimiserParams

_GPU_BUCKET, _CPU_BUCKET = 100_000_000, 1_000_000
"""Elements that are reduced at once. DeepSpeed holds one buffer of this size, or two if it overlaps communication."""


def deepspeed_config(
    optimiser: OptimiserParams,
    zero_stage: int,
    *,
    micro_batch: int,
    accumulation: int,
    processes: int,
    on_cpu: bool,
) -> dict[str, Any]:
    """Return DeepSpeed's configuration for one run.

    ZeRO shards over the processes: nothing (0), gradients and optimiser state (2), the weights too (3); see arXiv
    1910.02054. The optimiser itself is the trainer's (AdamW of torch), so none must be compiled.

    Args:
        micro_batch: rows of one process in one forward pass.
        accumulation: micro-batches of one process in one step.
        on_cpu: use small buffers and no overlap of communication, which does not help on CPUs.
    """
    bucket = _CPU_BUCKET if on_cpu else _GPU_BUCKET
    zero: dict[str, Any] = {
        "stage": zero_stage,
        "overlap_comm": not on_cpu,
        "contiguous_gradients": True,
        "reduce_bucket_size": bucket,
    }
    if zero_stage == 2:
        zero["allgather_bucket_size"] = bucket
    if zero_stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": bucket // 10,
            "stage3_param_persistence_threshold": bucket // 1000,
            # With this the trainer saves the whole model in addition to DeepSpeed's shards; without it, a second set of
            # shards.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * processes,
        "gradient_clipping": optimiser.max_grad_norm,
        "bf16": {"enabled": optimiser.dtype == "bfloat16"},
        "fp16": {"enabled": False},
        "steps_per_print": 1_000_000_000,
    }
