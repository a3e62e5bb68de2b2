"""Check on this machine everything that needs a GPU, and print a table of the results: `make gpu-check`.

    python -m tools.gpu_check                       every check, on the GPUs that this machine shows
    python -m tools.gpu_check --data gsm8k=DIR --model qwen=DIR     the same without reaching the Hugging Face Hub
    python -m tools.gpu_check --skip example        all but the 30 minutes of the 1.5B example
    python -m tools.gpu_check --on-cores            the same checks where there is no GPU: it shows that they work
    python3 tools/gpu_check/at_hand.py --wheels DIR     with a machine's own torch, and a folder of wheels for the rest

A small Experiment (generated problems, the quickstart's base model) is run through `misstep run`, with one thing
changed at a time, and results are compared:

    whole      every stage on one GPU: vLLM samples and credits, SFT and DPO train, the report is written
    greedy     vLLM's greedy answers against the transformers engine's, in float32
    tensor     greedy answers of vLLM over two GPUs against those of one
    zero2      DPO by DeepSpeed ZeRO-2 over NCCL, two GPUs where there are: losses against those of one process
    zero3      the same by ZeRO-3; its export was loaded and compared before it was committed
    shapes     random weights of a 7B shape: memory, throughput and DPO with a shared prefix (benchmarks/shapes.py)
    example    examples/gsm8k-qwen2.5-math-1.5b.yaml, cut to 30 minutes of one GPU, to its report

Where vLLM is not installed, the engine `transformers` samples, and `greedy` compares a GPU with cores. Exit code 0
where nothing failed. What could not be tried is said, and is no success.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tools.gpu_check.checks import CHECKS, carry_out
from tools.gpu_check.surroundings import engine_here, left_out, missing, stale, told, version_table
from tools.gpu_check.world import World

from misstep.runner.machine import visible_gpus


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
    if lacking := missing():
        print("\n".join(["This Python lacks packages that the checks need:", *lacking]))
        return 1
    console = Console(width=140)
    console.print(version_table())
    for name, why in sorted(told().get("left_out", {}).items()):
        console.print(f"left out: {name}: {why}", highlight=False)
    if stale():
        console.print("The wheel of Misstep was made from other sources than this checkout: `make gpu-wheels` again.")
    engine = engine_here()
    if engine != "vllm":
        console.print(f"{left_out('vllm')}: the engine `transformers` samples", highlight=False)
    folder = (options.work or Path(tempfile.mkdtemp(prefix="misstep-gpu-check-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    given = [word for name in ("data", "model") for value in getattr(options, name) for word in (f"--{name}", value)]
    found = carry_out([name for name in CHECKS if name not in options.skip], World(folder, gpus, given, engine))
    table = Table(
        "check", "outcome", "details", title=f"{gpus} GPUs" if gpus else "cores only: nothing here ran on a GPU"
    )
    for name, (outcome, details) in found.items():
        table.add_row(name, outcome, escape(details))
    console.print(table)
    print(json.dumps({name: outcome for name, (outcome, _) in found.items()}))
    print(f"stores and logs are in {folder}")
    return int(any(outcome == "FAIL" for outcome, _ in found.values()))


if __name__ == "__main__":
    sys.exit(main())
