#!/usr/bin/env python3
"""Check on this machine everything that needs a GPU, and print a table of the results: `make gpu-check`.

    python tools/gpu_check.py                       every check, on the GPUs that this machine shows
    python tools/gpu_check.py --data gsm8k=DIR --model qwen=DIR     the same without reaching the Hugging Face Hub
    python tools/gpu_check.py --skip example        all but the 30 minutes of the 1.5B example
    python tools/gpu_check.py --on-cores            the same checks where there is no GPU: it shows that they work

A small Experiment (generated problems, the quickstart's base model) is run through `misstep run`, with one thing
changed at a time, and results are compared:

    whole      every stage on one GPU: vLLM samples and credits, SFT and DPO train, the report is written
    greedy     vLLM's greedy answers against the transformers engine's, in float32
    tensor     greedy answers of vLLM over two GPUs against those of one
    zero2      DPO by DeepSpeed ZeRO-2 over NCCL, two GPUs where there are: losses against those of one process
    zero3      the same by ZeRO-3; its export was loaded and compared before it was committed
    example    examples/gsm8k-qwen2.5-math-1.5b.yaml, cut to 30 minutes of one GPU, to its report

Exit code 0 where nothing failed. What could not be tried is said, and is no success.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from misstep.artifacts.reader import Reader
from misstep.cli.experiments import load, make_plan
from misstep.plan.planner import Plan
from misstep.runner.machine import visible_gpus
from misstep.spec.load import read_document
from misstep.store.description import Storage
from misstep.store.open import open_store

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples/gsm8k-qwen2.5-math-1.5b.yaml"
EXAMPLE_SECONDS = 30 * 60
SAME_ANSWERS = 0.95
"""Share of greedy answers that must be equal: if two tokens are nearly tied, the order of sums decides."""
SAME_LOSS = 1e-3
"""Largest difference of the losses of one step, in nats."""
SFT, GREEDY, DPO = "sft-d64-s0", "test-sft-d64-s0", "dpo-step-d64-s0"


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


def whole(world: World) -> str:
    """Run every stage on one GPU."""
    path = world.experiment("one", "vllm", {})
    world.run(path, "one")
    return f"{len(world.plan(path, 'one').stages)} stages to the report"


def greedy(world: World) -> str:
    """Compare greedy answers of two engines from one model."""
    path = world.experiment("transformers", "transformers", {})
    world.run(path, "one", "--only", GREEDY)
    return same_answers(world.answers(world.folder / "one.yaml", "one"), world.answers(path, "one"))


def tensor(world: World) -> str:
    """Compare greedy answers of vLLM over two GPUs and over one."""
    if world.gpus < 2:
        raise NotTriedError(f"needs two GPUs; there are {world.gpus}")
    path = world.experiment("tensor", "vllm", {"sample": {"gpus": 2}})
    world.copy("tensor", GREEDY, path)
    world.run(path, "tensor", "--only", GREEDY)
    return same_answers(world.answers(world.folder / "one.yaml", "one"), world.answers(path, "tensor"))


def same_answers(found: list[Any], expected: list[Any]) -> str:
    """Return how many answers are equal; raises RuntimeError if too few are."""
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    text = f"{same} of {len(expected)} greedy answers are the same"
    if same < SAME_ANSWERS * len(expected):
        raise RuntimeError(text)
    return text


def zero(stage: int, world: World) -> str:
    """Train DPO again under DeepSpeed and compare losses with those of one process."""
    processes = min(world.gpus, 2) or 2
    where = {"gpus": processes} if world.gpus else {"processesPerNode": processes, "cpus": 2}
    store = f"zero{stage}"
    path = world.experiment(store, "vllm", {"dpo": {**where, "zeroStage": stage}})
    world.copy(store, DPO, path)
    world.run(path, store, "--only", DPO)
    found, expected = world.losses(path, store), world.losses(world.folder / "one.yaml", "one")
    apart = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    text = f"{processes} ranks, {len(found)} steps, losses at most {apart:.1e} nats apart"
    if not apart <= SAME_LOSS:
        raise RuntimeError(text)
    return f"{text}; one rank shows no traffic between GPUs" if processes == 1 else text


def example(world: World) -> str:
    """Run the 1.5B example with few problems to its report."""
    if not world.gpus:
        raise NotTriedError("needs a GPU")
    document = read_document(EXAMPLE)
    spec = document["spec"]
    spec["policy"]["model"]["name"] = "qwen"
    spec["problems"] |= {"sizes": [64], "train": {**spec["problems"]["train"], "limit": 500}}
    spec["sampling"]["samples"] = 8
    spec["credit"]["negativesPerProblem"] = 2
    for method in ("sft", "rft"):
        spec["training"][method] |= {"epochs": 1, "selection": {"epochs": [1], "problems": 32}}
    spec["training"]["dpo"]["epochs"] = 1
    spec["evaluation"] |= {"samples": 2, "passAt": [1], "limit": 100}
    spec["seeds"] = [0]
    began = time.monotonic()
    world.run(world.write("example", document), "example", *world.options, seconds=EXAMPLE_SECONDS)
    return f"to the report in {(time.monotonic() - began) / 60:.0f} minutes"


CHECKS: dict[str, Callable[[World], str]] = {
    "whole": whole,
    "greedy": greedy,
    "tensor": tensor,
    "zero2": lambda world: zero(2, world),
    "zero3": lambda world: zero(3, world),
    "example": example,
}


def carry_out(checks: list[str], world: World) -> dict[str, tuple[str, str]]:
    """Run the checks in order; return name -> result and details."""
    found: dict[str, tuple[str, str]] = {}
    for name in checks:
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        if name != "example" and found.get("whole", ("pass", ""))[0] != "pass":
            found[name] = "not tried", "it compares with what `whole` leaves"
            continue
        try:
            outcome, details = "pass", f"{CHECKS[name](world)} ({time.monotonic() - began:.0f} s)"
        except NotTriedError as error:
            outcome, details = "not tried", str(error)
        except Exception as error:  # noqa: BLE001 - the other checks go on
            outcome, details = "FAIL", f"{type(error).__name__}: {error}"
        found[name] = outcome, details
    return found


def main() -> int:
    """Check, print the table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on-cores", action="store_true", help="use no GPU")
    parser.add_argument("--skip", nargs="*", choices=CHECKS, default=[], help="checks to leave out")
    parser.add_argument("--work", type=Path, help="folder for stores and logs (default: a new one, kept)")
    parser.add_argument("--data", action="append", default=[], help="for the example: gsm8k=FOLDER")
    parser.add_argument("--model", action="append", default=[], help="for the example: qwen=FOLDER")
    options = parser.parse_args()
    gpus = 0 if options.on_cores else len(visible_gpus())
    if not gpus and not options.on_cores:
        print("nvidia-smi shows no GPU here; --on-cores runs the same checks without one")
        return 1
    folder = (options.work or Path(tempfile.mkdtemp(prefix="misstep-gpu-check-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    given = [word for name in ("data", "model") for value in getattr(options, name) for word in (f"--{name}", value)]
    found = carry_out([name for name in CHECKS if name not in options.skip], World(folder, gpus, given))
    table = Table(
        "check", "outcome", "details", title=f"{gpus} GPUs" if gpus else "cores only: nothing here ran on a GPU"
    )
    for name, (outcome, details) in found.items():
        table.add_row(name, outcome, escape(details))
    Console(width=140).print(table)
    print(json.dumps({name: outcome for name, (outcome, _) in found.items()}))
    print(f"stores and logs are in {folder}")
    return int(any(outcome == "FAIL" for outcome, _ in found.values()))


if __name__ == "__main__":
    sys.exit(main())
