"""Make the quickstart's base model again and compare it with the committed one.

Run from the repository's root: `make quickstart-base`.
It takes about six minutes on one core, and fails if the accuracies differ by more than those of two trainings with the
same recipe.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from misstep.problems.strides import generate

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from quickstart.measure import accuracy
from quickstart.pretraining import Recipe, pretrain
from quickstart.tokenizer import build_tokenizer

COMMITTED = Path(__file__).parents[1] / "examples" / "quickstart-base"
PROBLEMS = 1000
TEMPERATURES = (0.0, 0.7, 1.0)
TOLERANCE = 0.08


def make(out: Path) -> None:
    """Train the base model and save it with its tokenizer."""
    tokenizer = build_tokenizer()
    started = time.monotonic()

    def progress(line: str) -> None:
        print(f"\r{time.monotonic() - started:4.0f} s  {line:40}", end="", file=sys.stderr, flush=True)

    model = pretrain(Recipe(), tokenizer, progress)
    print(file=sys.stderr)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def measured(folder: Path) -> list[float]:
    """Return the accuracy of a saved model on validation problems at each of `TEMPERATURES`."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problems = list(generate("validation", PROBLEMS, seed=0))
    return [accuracy(model, tokenizer, problems, temperature) for temperature in TEMPERATURES]


def main() -> int:
    """Make the base model, print both models' accuracies, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/quickstart-base"), help="folder to write")
    parser.add_argument("--replace", action="store_true", help="overwrite the committed model")
    arguments = parser.parse_args()
    # The order of sums, and so the weights, depends on the number of threads.
    torch.set_num_threads(1)
    out = COMMITTED if arguments.replace else arguments.out
    make(out)
    new = measured(out)
    rows = [("temperature", TEMPERATURES), ("new", new)]
    if not arguments.replace:
        old = measured(COMMITTED)
        rows.append(("committed", old))
    for name, figures in rows:
        print(f"{name:12}" + "".join(f"{figure:8.3f}" for figure in figures))
    if not arguments.replace and max(abs(a - b) for a, b in zip(new, old, strict=True)) > TOLERANCE:
        print(f"The new base model differs from the committed one by more than {TOLERANCE}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
