"""Make a base model of the generated tasks again and compare it with the committed one.

    python quickstart/make_base.py                           the quickstart's: `make quickstart-base`
    python quickstart/make_base.py --task long-strides       that of longer problems, for the study

Run from the repository's root. It takes about six minutes on one core, and fails if the accuracies differ by more than
those of two trainings with the same recipe.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from misstep.problems.generated import GENERATORS
from misstep.problems.strides import MAX_LENGTH, MOST_POSITIONS

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from quickstart.measure import accuracy
from quickstart.pretraining import Recipe, pretrain
from quickstart.tokenizer import build_tokenizer

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Base:
    """A base model: where it is committed, how it was made, and the operations that its tokenizer can count."""

    committed: Path
    recipe: Recipe
    positions: int


BASES = {
    "strides": Base(ROOT / "examples" / "quickstart-base", Recipe(), MAX_LENGTH),
    "long-strides": Base(
        ROOT / "study" / "long-strides-base",
        Recipe(steps=1600, blurts=0.7, strides=(0.8, 0.2), lengths=(4, MOST_POSITIONS)),
        MOST_POSITIONS,
    ),
}
"""By format of problems."""
PROBLEMS = 1000
TEMPERATURES = (0.0, 0.7, 1.0)
TOLERANCE = 0.08


def make(base: Base, out: Path) -> None:
    """Train a base model and save it with its tokenizer."""
    tokenizer = build_tokenizer(base.positions)
    started = time.monotonic()

    def progress(line: str) -> None:
        print(f"\r{time.monotonic() - started:4.0f} s  {line:40}", end="", file=sys.stderr, flush=True)

    model = pretrain(base.recipe, tokenizer, progress)
    print(file=sys.stderr)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def measured(folder: Path, task: str) -> list[float]:
    """Return the accuracy of a saved model on validation problems at each of `TEMPERATURES`."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problems = list(GENERATORS[task]("validation", PROBLEMS, 0))
    return [accuracy(model, tokenizer, problems, temperature) for temperature in TEMPERATURES]


def main() -> int:
    """Make the base model, print both models' accuracies, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=BASES, default="strides", help="format of its problems")
    parser.add_argument("--out", type=Path, help="folder to write (default: in build/, named as the committed one)")
    parser.add_argument("--replace", action="store_true", help="overwrite the committed model")
    arguments = parser.parse_args()
    # The order of sums, and so the weights, depends on the number of threads.
    torch.set_num_threads(1)
    base = BASES[arguments.task]
    out = base.committed if arguments.replace else arguments.out or ROOT / "build" / base.committed.name
    make(base, out)
    new = measured(out, arguments.task)
    rows = [("temperature", TEMPERATURES), ("new", new)]
    if not arguments.replace:
        old = measured(base.committed, arguments.task)
        rows.append(("committed", old))
    for name, figures in rows:
        print(f"{name:12}" + "".join(f"{figure:8.3f}" for figure in figures))
    if not arguments.replace and max(abs(a - b) for a, b in zip(new, old, strict=True)) > TOLERANCE:
        print(f"The new base model differs from the committed one by more than {TOLERANCE}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
