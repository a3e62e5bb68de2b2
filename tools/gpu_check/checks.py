"""The checks: each runs something on the GPUs and compares its result with another way to get it."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tools.gpu_check import shapes
from tools.gpu_check.surroundings import left_out
from tools.gpu_check.world import DPO, GREEDY, ROOT, NotTriedError, World

from misstep.spec.load import read_document

EXAMPLE = ROOT / "examples/gsm8k-qwen2.5-math-1.5b.yaml"
EXAMPLE_SECONDS = 30 * 60
SAME_ANSWERS = 0.95
"""Share of greedy answers that must be equal: if two tokens are nearly tied, the order of sums decides."""
SAME_LOSS = 1e-3
"""Largest difference of the losses of one step, in nats."""


def whole(world: World) -> str:
    """Run every stage on one GPU."""
    path = world.experiment("one", world.engine, {})
    world.run(path, "one")
    return f"{len(world.plan(path, 'one').stages)} stages to the report, sampled by {world.engine}"


def greedy(world: World) -> str:
    """Compare greedy answers of two engines from one model; without vLLM, those on a GPU with those on cores."""
    one = world.folder / "one.yaml"
    if world.engine == "vllm":
        path = world.experiment("transformers", "transformers", {})
        world.run(path, "one", "--only", GREEDY)
        return same_answers(world.answers(one, "one"), world.answers(path, "one"))
    if not world.gpus:
        raise NotTriedError(f"{left_out('vllm')}, and there is no GPU to compare with cores")
    path = world.experiment("cores", "transformers", {"sample": {"gpus": 0}})
    world.copy("cores", GREEDY, path)
    world.run(path, "cores", "--only", GREEDY)
    text = same_answers(world.answers(one, "one"), world.answers(path, "cores"))
    return f"{text} on a GPU and on cores ({left_out('vllm')})"


def tensor(world: World) -> str:
    """Compare greedy answers of vLLM over two GPUs and over one."""
    if world.engine != "vllm":
        raise NotTriedError(left_out("vllm"))
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
    if importlib.util.find_spec("deepspeed") is None:
        raise NotTriedError(left_out("deepspeed"))
    processes = min(world.gpus, 2) or 2
    where = {"gpus": processes} if world.gpus else {"processesPerNode": processes, "cpus": 2}
    store = f"zero{stage}"
    path = world.experiment(store, world.engine, {"dpo": {**where, "zeroStage": stage}})
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
    if os.environ.get("HF_HUB_OFFLINE") == "1" and not {"--data", "--model"} <= set(world.options):
        raise NotTriedError("the Hub is not asked: name folders of GSM8K and Qwen2.5-Math-1.5B (DATA=, MODEL=)")
    document = read_document(EXAMPLE)
    spec = document["spec"]
    spec["policy"]["model"]["name"] = "qwen"
    spec["problems"] |= {"sizes": [64], "train": {**spec["problems"]["train"], "limit": 500}}
    spec["sampling"] |= {"samples": 8, "engine": world.engine}
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
    "shapes": shapes.check,
    "example": example,
}
ALONE = ("shapes", "example")
"""Checks that compare with nothing that `whole` leaves."""


def carry_out(checks: list[str], world: World) -> dict[str, tuple[str, str]]:
    """Run the checks in order; return name -> result and details."""
    found: dict[str, tuple[str, str]] = {}
    for name in checks:
        print(f"{name} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        if name not in ALONE and found.get("whole", ("pass", ""))[0] != "pass":
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
