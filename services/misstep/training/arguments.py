"""Convert the stage's parameters to TRL's settings. All other settings are TRL's defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from trl import DPOConfig, SFTConfig

from misstep.distributed.deepspeed_config import deepspeed_config
from misstep.distributed.ranks import world
from misstep.plan.params import DpoParams, OptimiserParams
from misstep.training.schedule import Schedule


def sft_arguments(optimiser: OptimiserParams, schedule: Schedule, folder: Path) -> SFTConfig:
    """Settings of `SftOnRows`: rows are used unchanged, neither cut nor packed."""
    return SFTConfig(
        **_common(optimiser, schedule, folder), dataset_kwargs={"skip_prepare_dataset": True}, packing=False
    )


def dpo_arguments(params: DpoParams, schedule: Schedule, folder: Path) -> DPOConfig:
    """Settings of `DpoOnRows`: the sigmoid loss of arXiv 2305.18290, with the chosen side's negative log-likelihood
    added if its weight is above zero (arXiv 2404.19733)."""
    losses = {"sigmoid": 1.0, "sft": params.nll_weight} if params.nll_weight else {"sigmoid": 1.0}
    return DPOConfig(
        **_common(params.optimiser, schedule, folder),
        beta=params.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        precompute_ref_log_probs=True,
    )


def lora_config(optimiser: OptimiserParams) -> LoraConfig | None:
    """Adapters on every linear layer except the output, or None if all weights are trained."""
    if optimiser.lora_rank is None:
        return None
    rank = optimiser.lora_rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _spread(optimiser: OptimiserParams, schedule: Schedule, on_cpu: bool) -> dict[str, Any]:
    """Settings for several processes; empty for a single process."""
    zero_stage = world().zero_stage
    if zero_stage is None:
        return {}
    config = deepspeed_config(
        optimiser,
        zero_stage,
        micro_batch=schedule.micro_batch,
        accumulation=schedule.accumulation,
        processes=world().processes,
        on_cpu=on_cpu,
    )
    # Each node keeps its own files: there may be no folder that all nodes share.
    return {"deepspeed": config, "save_on_each_node": world().nodes > 1}


def _common(optimiser: OptimiserParams, schedule: Schedule, folder: Path) -> dict[str, Any]:
    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.micro_batch,
        "gradient_accumulation_steps": schedule.accumulation,
        "learning_rate": optimiser.learning_rate,
        "optim": "adamw_torch_fused",
        "warmup_steps": schedule.warmup_steps,  # the trainers have their own schedules: no lr_scheduler_type
        "weight_decay": optimiser.weight_decay,
        "max_grad_norm": optimiser.max_grad_norm,
        "max_length": None,  # rows that are too long were dropped before: none is cut here
        "seed": optimiser.seed,
        "use_cpu": on_cpu,
        "bf16": optimiser.dtype == "bfloat16",  # autocast over float32 weights
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": schedule.log_every,
        "logging_nan_inf_filter": False,  # it would replace a loss that is NaN by the mean of earlier ones
        "save_strategy": "no",  # the callback decides
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **_spread(optimiser, schedule, on_cpu),
    }
