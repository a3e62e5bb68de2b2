"""The small Experiment of the checks, and the folder in which its variants run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misstep.api.opening import load, make_plan
from misstep.artifacts.reader import Reader
from misstep.plan.planner import Plan
from misstep.store.description import Storage
from misstep.store.open import open_store

ROOT = Path(__file__).parents[2]
GREEDY, DPO = "test-sft-d64-s0", "dpo-step-d64-s0"


class NotTriedError(Exception):
    """A check that this machine cannot run."""


def small_experiment() -> dict[str, Any]:
    """An Experiment of fifteen stages that one GPU, or two cores, runs in a few minutes."""
    spec = {
        "problems": {
            "train": {"format": "strides", "limit": 300},
            "validation": {"format": "strides", "limit": 50},
            "test": {"format": "strides", "limit": 64},
            "sizes": [64],
        },
        "policy": {"model": {"path": str(ROOT / "examples/quickstart-base")}},
        "verification": {"answerFormat": "hash"},
        "sampling": {"samples": 8, "temperature": 1, "maxNewTokens": 48, "engine": "vllm", "dtype": "float32"},
        "credit": {"estimator": "sequential", "negativesPerProblem": 2},
        "training": {
            "sft": {"learningRate": 1e-3, "epochs": 8, "batchSize": 32, "schedule": "constant"},
            "dpo": {"learningRate": 3e-4, "epochs": 2, "batchSize": 16},
        },
        "evaluation": {"samples": 1, "temperature": 0, "passAt": [1]},
        "arms": [{"name": "sft", "method": "sft"}, {"name": "dpo-step", "method": "dpo", "pairs": "shared-prefix"}],
        "seeds": [0],
        "resources": {"default": {"cpus": 1, "memory": "3Gi", "batchRows": 128, "blockRows": 64}},
    }
    return {"apiVersion": "misstep.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "check"}, "spec": spec}


@dataclass
class World:
    """A folder in which experiments run, each variant in its own store, because resources do not change a stage's
    key."""

    folder: Path
    gpus: int
    options: list[str]
    """For the 1.5B example: where its data and its model are."""
    engine: str = "vllm"
    """What samples and credits: ``transformers`` where there is no vLLM."""

    def experiment(self, name: str, engine: str, resources: dict[str, dict[str, Any]]) -> Path:
        """Write the small experiment with an engine, and with resources by stage, and return its file."""
        document = small_experiment()
        document["spec"]["sampling"]["engine"] = engine
        if self.gpus:
            document["spec"]["resources"] |= {kind: {"gpus": 1} for kind in ("sample", "credit", "sft", "dpo")}
        document["spec"]["resources"] |= resources
        return self.write(name, document)

    def write(self, name: str, document: dict[str, Any]) -> Path:
        """Write an Experiment into a folder in which its relative paths stay valid."""
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(document))  # YAML too, with every text in quotes
        return path

    def store(self, name: str) -> Path:
        """Return the folder of a variant's store."""
        return self.folder / f"store-{name}"

    def run(self, path: Path, store: str, *more: str, seconds: float = 1200) -> None:
        """Run an Experiment to its end; raises RuntimeError with its output if it fails."""
        command = [sys.executable, "-m", "misstep", "run", str(path), "--quiet", "--retries", "0"]
        command += ["--storage", self.store(store).as_uri(), "--work", str(self.folder / f"work-{store}"), *more]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"not done after {seconds:.0f} seconds") from error
        if done.returncode:
            raise RuntimeError(done.stdout.strip() or f"exit code {done.returncode}")

    def table(self, path: Path, store: str, stage: str, table: str) -> list[dict[str, Any]]:
        """Read a table of a finished stage."""
        storage = Storage(uri=self.store(store).as_uri())
        plan = self.plan(path, store)
        key = next(one.key for one in plan.stages if one.name == stage)
        with tempfile.TemporaryDirectory() as scratch:
            return Reader(open_store(storage), Path(scratch)).table(key, table).to_pylist()

    def plan(self, path: Path, store: str) -> Plan:
        """Plan an Experiment on a variant's store."""
        return make_plan(load(path, self.store(store).as_uri()))

    def losses(self, path: Path, store: str) -> list[float]:
        """Return DPO's losses, step by step."""
        return [row["loss"] for row in self.table(path, store, DPO, "log")]

    def answers(self, path: Path, store: str) -> list[Any]:
        """Return the greedy answers to the test problems, in order."""
        rows = self.table(path, store, GREEDY, "samples")
        return [row["token_ids"] for row in sorted(rows, key=lambda row: row["problem_id"])]

    def copy(self, store: str, without: str, path: Path) -> None:
        """Make a variant's store from the first one's, without the result of a stage."""
        shutil.copytree(self.store("one"), self.store(store))
        key = next(one.key for one in self.plan(path, store).stages if one.name == without)
        shutil.rmtree(self.store(store) / key)
