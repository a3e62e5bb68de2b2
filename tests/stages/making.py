"""Frozen stages whose work is that of tests.stages.work."""

from __future__ import annotations

from typing import Any

from misstep.plan.frozen import External, FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.store.description import Storage

DECODING = {"engine": "transformers", "dtype": "float32", "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 5}
PROMPT = {"style": "plain", "template": "{question}"}
OPTIMISER = {
    "learning_rate": 1e-3,
    "epochs": 1,
    "batch_size": 1,
    "micro_batch_size": 1,
    "schedule": "constant",
    "warmup_percent": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_length": 8,
    "dtype": "float32",
    "lora_rank": None,
    "seed": 0,
}


def _stage(kind: StageKind, params: dict[str, Any], storage: Storage, **more: Any) -> FrozenStage:
    inputs, externals = more.pop("inputs", {}), more.pop("externals", {})
    return FrozenStage(
        kind=kind,
        name=f"{kind.value}-s0",
        key=stage_key(kind, params, inputs, externals),
        params=params,
        inputs=inputs,
        externals=externals,
        storage=storage,
        **more,
    )


def samples(storage: Storage, blocks: int = 4, rows: int = 3, shards: int = 1) -> FrozenStage:
    params = {"split": "test", "subset": None, "limit": blocks, "samples": rows, "seed": 0}
    return _stage(StageKind.SAMPLE, {**params, "prompt": PROMPT, "decoding": DECODING}, storage, shards=shards)


def verify(storage: Storage, samples_key: str, shards: int = 1) -> FrozenStage:
    params = {"answer_format": "auto", "timeout_seconds": 1.0, "verifier": "v"}
    return _stage(StageKind.VERIFY, params, storage, inputs={"samples": samples_key}, shards=shards)


def score(storage: Storage, samples_key: str, verdicts_key: str) -> FrozenStage:
    inputs = {"samples": samples_key, "verdicts": verdicts_key}
    resources = Resources(cpus=2)
    return _stage(StageKind.SCORE, {"pass_at": [1]}, storage, inputs=inputs, resources=resources)


def training(storage: Storage, model: External | str) -> FrozenStage:
    params = {"optimiser": OPTIMISER, "beta": 0.1, "nll_weight": 0.0, "prompt": PROMPT, "selection": None}
    more = {"inputs": {"model": model}} if isinstance(model, str) else {"externals": {"model": model}}
    return _stage(StageKind.DPO, params, storage, **more)
