"""The parts of benchmarks/shapes.py: each measures one thing in this process, and returns plain numbers.

Heavy imports stand inside the functions: on cores a process's memory counts what it has imported.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from benchmarks.generation import BASE, now, with_engine
from benchmarks.shape_subject import MIB, Subject
from transformers import AutoTokenizer

from misstep.cost.memory import Memory, generation_memory, training_memory
from misstep.plan import params as p

if TYPE_CHECKING:
    from pathlib import Path

_FREE_SHARE = 0.95
"""Share of a GPU's memory that a plan may use, where layers are counted."""


class OutOfMemoryError(Exception):
    """A part ran out of memory; the text says what the plan had said."""


def generate(subject: Subject) -> dict[str, Any]:
    """Sample with the transformers engine."""
    from misstep.generation.transformers_engine import TransformersEngine

    sizes, decoding = subject.sizes, _decoding(subject, "transformers")
    model = subject.model(sizes.dtype)
    engine = TransformersEngine(model, AutoTokenizer.from_pretrained(BASE), decoding, batch_rows=sizes.rows)
    memory = generation_memory(subject.architecture, decoding, subject.resources, sizes.prompt)
    rate = _throughput(engine, subject)
    return subject.found("generate", memory, rate=rate, plan_rate=subject.rate("transformers", "generate"))


def vllm(subject: Subject) -> dict[str, Any]:
    """Sample with vLLM, from a folder with the weights in bfloat16 (float32 on cores)."""
    from misstep.generation.engines import open_engine

    if importlib.util.find_spec("vllm") is None:
        return {"part": "vllm", "note": "not tried: vLLM is not installed"}
    dtype, folder = subject.sizes.dtype, subject.work / "model"
    needed = subject.architecture.parameters * (2 if dtype == "bfloat16" else 4)
    if shutil.disk_usage(subject.work).free < 1.2 * needed:
        return {"part": "vllm", "note": f"not tried: {needed / 1e9:.0f} GB of weights do not fit on the disk"}
    model = subject.model(dtype)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
    del model
    if subject.on_gpu:
        torch.cuda.empty_cache()
    engine = open_engine(folder, _decoding(subject, "vllm"), subject.resources)
    rate = _throughput(engine, subject)
    engine.close()
    shutil.rmtree(folder)
    return subject.found("vllm", None, rate=rate, plan_rate=subject.rate("vllm", "generate"))


def _decoding(subject: Subject, engine: Any) -> p.DecodingParams:
    sizes = subject.sizes
    return p.DecodingParams(engine=engine, dtype=sizes.dtype, temperature=1.0, top_p=1.0, max_new_tokens=sizes.new)


def _throughput(engine: Any, subject: Subject) -> float:
    """Return generated tokens per second; random weights hardly ever end a response before its limit."""
    sizes = subject.sizes
    prompts = [subject.tokens(sizes.prompt + row)[row:] for row in range(4 * sizes.rows)]
    with_engine(engine, prompts[: sizes.rows // 4], 1, 0)  # what happens once only
    began = now()
    return with_engine(engine, prompts, 1, 1) / (now() - began)


def train(method: str, lora_rank: int | None, subject: Subject, *, apart: bool = False) -> dict[str, Any]:
    """Take steps of SFT or DPO; the first is not timed.

    Args:
        apart: run both sides of a pair whole, as if the model did not allow a shared prefix.
    """
    from transformers import PrinterCallback, TrainerCallback

    from misstep.training import shared_prefix
    from misstep.training.arguments import dpo_arguments, lora_config, sft_arguments
    from misstep.training.cpu_speed import cheaper_steps
    from misstep.training.schedule import make_schedule
    from misstep.training.trainers import DpoOnRows, SftOnRows

    sizes, part = subject.sizes, method + ("" if lora_rank is None else "-lora") + "-apart" * apart
    count = 2 * sizes.micro * sizes.steps
    rows = _pairs(subject, count) if method == "dpo" else _sft_rows(subject, count)
    optimiser = _optimiser(subject, lora_rank)
    subject, memory = _that_fits(subject, optimiser, rows, 2 if method == "dpo" else 1)
    start, ends = subject.start(), []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(now())

    schedule, folder = make_schedule(len(rows), optimiser), subject.work / part
    trainer_class, arguments = (
        (SftOnRows, sft_arguments(optimiser, schedule, folder))
        if method == "sft"
        else (DpoOnRows, dpo_arguments(_dpo(optimiser), schedule, folder))
    )
    arguments.logging_steps = 1
    refused = mock.patch.object(shared_prefix, "why_not", lambda _: "measured so")
    try:
        with cheaper_steps(start.model), refused if apart else nullcontext():
            trainer = trainer_class(
                rows,
                optimiser,
                model=start.model,
                args=arguments,
                processing_class=start.trainers_tokenizer(),
                peft_config=lora_config(optimiser),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(Clock())
            trainer.train()
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"out of memory, and the plan says {memory.mib:,.0f} MiB") from error
    rate = sum(row.tokens for row in rows) * (len(ends) - 1) / len(ends) / (ends[-1] - ends[0])
    more: dict[str, Any] = {"losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]}
    if method == "dpo":
        more["shared"] = trainer._costs is not None
    planned = None if apart else subject.rate("trl", "train")
    return subject.found(part, None if apart else memory, rate=rate, plan_rate=planned, **more)


def _that_fits(
    subject: Subject, optimiser: p.OptimiserParams, rows: Sequence[Any], sides: int
) -> tuple[Subject, Memory]:
    """Return the subject, on a GPU with as many of its layers as fit by the plan's formula, and the plan's memory."""
    longest = max(row.length for row in rows)

    def planned(one: Subject) -> Memory:
        return training_memory(
            one.architecture, optimiser, None, one.resources, row_tokens=longest, prompt_tokens=0, sides=sides
        )

    if not subject.on_gpu:
        return subject, planned(subject)
    room = _FREE_SHARE * torch.cuda.mem_get_info()[1] / MIB
    for layers in range(subject.architecture.layers, 0, -1):
        fewer = subject.with_layers(layers)
        if planned(fewer).mib <= room:
            return fewer, planned(fewer)
    raise OutOfMemoryError(f"not even one layer fits: {planned(subject.with_layers(1)).mib:,.0f} MiB")


def _optimiser(subject: Subject, lora_rank: int | None) -> p.OptimiserParams:
    sizes = subject.sizes
    return p.OptimiserParams(
        learning_rate=1e-6,
        epochs=1,
        batch_size=2 * sizes.micro,
        micro_batch_size=sizes.micro,
        schedule="constant",
        warmup_percent=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=max(1024, sizes.row),
        dtype=sizes.dtype,
        lora_rank=lora_rank,
        seed=0,
    )


def _dpo(optimiser: p.OptimiserParams) -> p.DpoParams:
    prompt = p.PromptParams(style="plain", template="{question}\n")
    return p.DpoParams(optimiser=optimiser, beta=0.3, nll_weight=0.0, prompt=prompt, selection=None)


def _sft_rows(subject: Subject, count: int) -> list[Any]:
    import numpy as np

    from misstep.training.rows import SftRow

    ids = np.array(subject.tokens(count * subject.sizes.row), dtype=np.int32).reshape(count, -1)
    return [SftRow(row, subject.sizes.row // 3) for row in ids]


def _pairs(subject: Subject, count: int) -> list[Any]:
    from benchmarks.dpo import math_shaped

    return math_shaped(count, subject.config["vocab_size"])


PARTS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "generate": generate,
    "vllm": vllm,
    "sft": partial(train, "sft", None),
    "sft-lora": partial(train, "sft", 16),
    "dpo": partial(train, "dpo", None),
    "dpo-lora": partial(train, "dpo", 16),
    "dpo-apart": partial(train, "dpo", None, apart=True),
}


def measure_part(part: str, shape: str, work: Path) -> dict[str, Any]:
    """Measure one part of a shape of the table, or of the tiny one. Raises OutOfMemoryError."""
    torch.set_num_threads(1)
    try:
        return PARTS[part](Subject.named(shape, work))
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"out of memory: {error}".splitlines()[0]) from error
