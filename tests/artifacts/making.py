"""Frozen stages, rows and blocks for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts import manifest as m
from misstep.artifacts.output import Output
from misstep.artifacts.records import SAMPLES
from misstep.artifacts.summary import plain
from misstep.artifacts.writer import write_block
from misstep.plan.frozen import FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from misstep.store.description import Storage

SCORE_PARAMS: dict[str, Any] = {"pass_at": [1]}


def frozen(
    kind: StageKind = StageKind.SCORE,
    params: dict[str, Any] | None = None,
    storage: Storage | None = None,
    inputs: dict[str, str] | None = None,
    **more: Any,
) -> FrozenStage:
    params, inputs = SCORE_PARAMS if params is None else params, inputs or {}
    return FrozenStage(
        kind=kind,
        name=more.pop("name", f"{kind.value}-test"),
        key=stage_key(kind, params, inputs, more.get("externals", {})),
        params=params,
        inputs=inputs,
        storage=storage or Storage(uri="file:///nowhere"),
        resources=Resources(),
        **more,
    )


def sample_rows(start: int, count: int, length: int = 5) -> pa.Table:
    rows = [
        {
            "problem_id": f"p{number // 4}",
            "sample": number % 4,
            "prompt_ids": [1, 2, 3],
            "token_ids": [number % 1000] * (number % length),
            "text": f"answer {number} é",
            "finish_reason": "stop",
        }
        for number in range(start, start + count)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLES)


def finish_block(store: Store, stage: FrozenStage, block: int, blocks: int, output: Output, scratch: Path) -> bool:
    parts = write_block(store, stage.key, stage.kind, block, blocks, output, scratch)
    receipt = m.Receipt(block=block, blocks=blocks, parts=parts, summary=plain(output.summary), seconds=0.5)
    return m.put_receipt(store, stage.key, receipt)


def commit_samples(
    store: Store, scratch: Path, rows: Sequence[int] = (6, 4), storage: Storage | None = None
) -> FrozenStage:
    """Commit a ``sample`` stage with so many rows in each block."""
    stage = frozen(StageKind.SAMPLE, {"rows": list(rows)}, storage)
    for block, count in enumerate(rows):
        output = Output(tables={"samples": sample_rows(100 * block, count)}, summary={"samples": count})
        finish_block(store, stage, block, len(rows), output, scratch)
    m.commit(store, stage, len(rows))
    return stage


def commit_model(store: Store, scratch: Path, weights: bytes = b"weights") -> FrozenStage:
    """Commit an ``sft`` stage with two files of a model."""
    stage = frozen(StageKind.SFT, {"model": weights.hex()[:64]})
    (scratch / "model.safetensors").write_bytes(weights)
    (scratch / "config.json").write_text("{}")
    files = {f"model/{name}": scratch / name for name in ("model.safetensors", "config.json")}
    finish_block(store, stage, 0, 1, Output(files=files, summary={"loss": 0.5}), scratch)
    m.commit(store, stage, 1)
    return stage
