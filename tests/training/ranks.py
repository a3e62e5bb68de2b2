"""Frozen training stages over a real store, run as the stage processes that a node starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts import manifest as m
from misstep.artifacts.digest import digest_path
from misstep.artifacts.output import Output
from misstep.artifacts.reader import Reader
from misstep.artifacts.writer import write_block
from misstep.plan.frozen import External, FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.plan.params import DpoParams, Params, SftParams
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.training import stages

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class World:
    """A store with the inputs of training stages."""

    folder: Path
    model: Path

    @property
    def storage(self) -> Storage:
        return Storage(uri=(self.folder / "store").as_uri())

    @property
    def store(self) -> Store:
        return open_store(self.storage)

    def input(self, kind: StageKind, table: str, rows: pa.Table) -> str:
        """Commit a table as an artifact of its kind; return its key."""
        params = {"rows": rows.num_rows}
        key = stage_key(kind, params, {}, {})
        stage = FrozenStage(kind=kind, name=table, key=key, params=params, storage=self.storage)
        if m.read_manifest(self.store, key) is None:
            scratch = self.folder / "made"
            scratch.mkdir(parents=True, exist_ok=True)
            parts = write_block(self.store, key, kind, 0, 1, Output(tables={table: rows}), scratch)
            receipt = m.Receipt(block=0, blocks=1, parts=parts, summary={}, tools={}, seconds=0.0)
            m.put_receipt(self.store, key, receipt)
            m.commit(self.store, stage, 1)
        return key

    def stage(self, params: Params, resources: Resources | None = None, salt: int = 0, pairs: int = 40) -> FrozenStage:
        """Freeze a stage; ``salt`` tells apart the keys of stages that are equal."""
        inputs = {"problems": self.input(StageKind.PROBLEMS, "problems", stages.problems())}
        if isinstance(params, DpoParams):
            inputs["pairs"] = self.input(StageKind.PAIRS, "pairs", stages.pairs(pairs))
        kind = StageKind.SFT if isinstance(params, SftParams) else StageKind.DPO
        given = resources or Resources()
        start = "model" if kind is StageKind.SFT else "policy"
        model = {start: External(uri=str(self.model), digest=digest_path(self.model, "model"))}
        frozen = params.model_dump(mode="json")
        marks = {"salt": External(uri="nowhere", digest=f"{given.processes} {given.zero_stage} {salt}")}
        key = stage_key(kind, frozen, inputs, model | marks)
        return FrozenStage(
            kind=kind,
            name=f"{kind.value}-{salt}",
            key=key,
            params=frozen,
            inputs=inputs,
            externals=model | marks,
            storage=self.storage,
            shards=given.nodes,
            resources=given,
        )

    def start(self, stage: FrozenStage, shard: int = 0, **environment: Any) -> subprocess.Popen[bytes]:
        """Start a stage's process of one node; its last error and its log are in ``folder``."""
        name = f"{stage.key}-{shard}"
        frozen = self.folder / f"{name}.json"
        frozen.write_text(stage.model_dump_json())
        given = {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}",
            "MISSTEP_SCRATCH": str(self.folder / "scratch"),
            "MISSTEP_TERMINATION_LOG": str(self.folder / f"{name}.error"),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "misstep", "stage", str(frozen), "--shard", str(shard)],
                stdout=log,
                stderr=log,
                env=os.environ | given | {key: str(value) for key, value in environment.items()},
                cwd=ROOT,
            )

    def run(self, stage: FrozenStage, shard: int = 0, **environment: Any) -> int:
        return self.start(stage, shard, **environment).wait(timeout=240)

    def said(self, stage: FrozenStage, shard: int = 0) -> str:
        return (self.folder / f"{stage.key}-{shard}.error").read_text()

    def log(self, stage: FrozenStage, shard: int = 0) -> str:
        return (self.folder / f"{stage.key}-{shard}.log").read_text()

    def table(self, stage: FrozenStage, table: str) -> list[dict[str, Any]]:
        reader = Reader(self.store, self.folder / "read")
        return reader.table(stage.key, table).to_pylist()

    def losses(self, stage: FrozenStage) -> list[float]:
        return [row["loss"] for row in self.table(stage, "log")]

    def summary(self, stage: FrozenStage) -> dict[str, Any]:
        manifest = m.read_manifest(self.store, stage.key)
        assert manifest is not None
        return dict(manifest.summary)

    def exported(self, stage: FrozenStage, role: str = "model") -> Path:
        return Reader(self.store, self.folder / "read").folder(stage.key, f"{role}/")

    def checkpoints(self, stage: FrozenStage) -> list[int]:
        found = (self.folder / "store" / stage.key / "checkpoints").glob("*/manifest.json")
        return sorted(int(path.parent.name) for path in found)
