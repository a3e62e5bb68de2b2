"""Memory, DPO with a shared prefix, and throughput for random weights of a model's shape, beside what the plan says.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/shapes.py                    a tiny shape, on cores
    PYTHONPATH=services python benchmarks/shapes.py --shape deepseek-ai/deepseek-math-7b-base      on a GPU
    PYTHONPATH=services python benchmarks/shapes.py --parts sft dpo-lora

Nothing is downloaded: the shape is that of the table in `misstep.cost.architecture`, the weights are random, and the
tokenizer is the quickstart's. Each part runs in a process of its own:

    generate    the transformers engine: tokens per second, peak memory
    vllm        vLLM: tokens per second (it takes a share of the memory that is set beforehand)
    sft, dpo    steps of all weights: tokens per second, peak memory. Where the GPU is too small for that by the plan's
                formula, the shape gets fewer layers, and the table says how many
    sft-lora, dpo-lora    the same with adapters
    dpo-apart   DPO of all weights with both sides of a pair run whole: what `dpo` gains by running the prefix once, and
                how far losses of single steps are apart

On GPUs memory is the allocator's peak and what else the device has in use, so that nothing else should run there; and
bfloat16 is used. On cores it is the process's peak, in float32. Tokens of DPO count a shared prefix once, as the plan
does. Exit code 1 where a part failed, or needed over 15% more memory than the plan says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from benchmarks.shape_parts import PARTS, OutOfMemoryError, measure_part
from benchmarks.shape_subject import TINY

MOST_OVER = 0.15
"""By how much more memory than planned is a failure."""


def in_own_process(part: str, shape: str, work: Path) -> dict[str, Any]:
    """Measure one part; what went wrong stands under ``failed``."""
    command = [sys.executable, __file__, "--part", part, "--shape", shape, "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (work / f"{part}.log").write_text(done.stderr)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"part": part, "failed": lines[-1] if lines else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ratio(found: dict[str, Any], measured: str, planned: str) -> float | None:
    """Return measured over planned, if both are known."""
    return found[measured] / found[planned] if found.get(measured) and found.get(planned) else None


def problems(found: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong."""
    wrong = [f"{one['part']}: {one['failed']}" for one in found if "failed" in one]
    for one in found:
        over = ratio(one, "peak_mib", "plan_mib")
        if over is not None and over > 1 + MOST_OVER:
            wrong.append(f"{one['part']} needs {over:.2f} times the memory that the plan says")
        if one["part"] == "dpo" and one.get("shared") is False:
            wrong.append("dpo: common prefixes were not run once, and its log says why")
    return wrong


def summary(found: list[dict[str, Any]]) -> str:
    """Return one line: measured over planned."""
    memory = [f"{one['part']} {over:.2f}" for one in found if (over := ratio(one, "peak_mib", "plan_mib"))]
    rates = [f"{one['part']} {over:.2f}" for one in found if (over := ratio(one, "rate", "plan_rate"))]
    out = [f"memory over plan: {', '.join(memory)}"] if memory else []
    out += [f"tokens/s over plan: {', '.join(rates)}"] if rates else []
    return "; ".join([*out, *filter(None, [gain(found)])])


def gain(found: list[dict[str, Any]]) -> str:
    """Return how much faster DPO's steps are with a shared prefix, and how far the losses are apart; else nothing."""
    named = {one["part"]: one for one in found if "failed" not in one}
    if not {"dpo", "dpo-apart"} <= named.keys():
        return ""
    shared, apart = named["dpo"], named["dpo-apart"]
    gap = max(abs(a - b) for a, b in zip(shared["losses"], apart["losses"], strict=True))
    times = shared["rate"] / apart["rate"]
    return f"DPO with a shared prefix is {times:.2f} times as fast, losses at most {gap:.1e} apart"


def show(found: list[dict[str, Any]], shape: str) -> None:
    """Print the table."""
    where = next((one["device"] for one in found if "device" in one), "")
    table = Table(title=f"{shape}, random weights, {where}: measured / planned")
    for header in ("part", "layers", "peak MiB", "planned", "ratio", "tokens/s", "planned", "ratio", ""):
        table.add_column(header, justify="left" if header in ("part", "") else "right")
    for one in found:
        cells = [one["part"], str(one.get("layers", ""))]
        for measured, planned in (("peak_mib", "plan_mib"), ("rate", "plan_rate")):
            over = ratio(one, measured, planned)
            cells += [f"{one[name]:,.0f}" if one.get(name) else "" for name in (measured, planned)]
            cells.append("" if over is None else f"{over:.2f}")
        table.add_row(*cells, one.get("failed", one.get("note", "")))
    Console(width=140).print(table)


def main() -> int:
    """Measure every part, print the table, return the exit code; or measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default=TINY, help="a name of the table of models in docs/cost.md, or tiny")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--work", type=Path, help="folder for logs, and for vLLM's weights")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="misstep-shapes-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if options.part:
        try:
            print(json.dumps(measure_part(options.part, options.shape, work)))
        except OutOfMemoryError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    found = []
    for part in options.parts:
        print(f"shapes: {part} ...", file=sys.stderr, flush=True)
        found.append(in_own_process(part, options.shape, work))
    show(found, options.shape)
    wrong = problems(found)
    print("\n".join(wrong) if wrong else summary(found))
    if options.json:
        options.json.write_text(json.dumps({"parts": found, "problems": wrong, "summary": summary(found)}, indent=1))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
