"""Search the quickstart's training settings: one grid for every arm, judged on validation problems alone.

Run in the repository's root: ``PYTHONPATH=services python -m quickstart.search_settings [--out DIR]``. Each setting is
an Experiment made from `examples/quickstart.yaml` and run with ``misstep run`` against one store, so that all share
problems, policies, samples and credit, and a search that was stopped goes on where it was. Validation problems
stand in for the test set, apart from those that choose checkpoints: no test problem is ever generated.
SFT's setting is chosen first, over several sizes; RFT and DPO start from it.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from misstep.problems.strides import generate

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
SEEDS = [10, 11]  # not those of the quickstart: other training problems are drawn
SFT_SIZES = [250, 1000]
PROBLEMS = 1000
_FINE_TUNING = [
    {"learningRate": rate, "schedule": "linear", "batchSize": batch, "epochs": epochs}
    for rate, (batch, epochs) in product(["5e-4", "1e-3"], [(16, 12), (64, 32)])
]
GRID: dict[str, list[dict[str, Any]]] = {
    "sft": _FINE_TUNING,
    "rft": _FINE_TUNING,
    "dpo": [
        {"learningRate": rate, "beta": beta, "nllWeight": weight, "batchSize": 32, "epochs": 2}
        for rate, beta, weight in product(["1e-4", "3e-4"], ["0.1", "0.3"], ["0", "0.5"])
    ],
}
Accuracy = dict[tuple[str, int], float]
"""By arm and size, over the seeds."""


def with_setting(base: dict[str, Any], method: str, setting: dict[str, Any]) -> dict[str, Any]:
    """Put a setting into a copy of an experiment; checkpoints are scored after each quarter of the epochs."""
    made = copy.deepcopy(base)
    training = made["spec"]["training"][method]
    training.update(setting)
    if "selection" in training:
        training["selection"]["epochs"] = [setting["epochs"] * quarter // 4 for quarter in (1, 2, 3, 4)]
    return made


def for_search(base: dict[str, Any], method: str, out: Path) -> dict[str, Any]:
    """Leave one method's arms in a copy of an experiment, and put validation problems in place of the test's."""
    made = copy.deepcopy(base)
    spec = made["spec"]
    spec["arms"] = [arm for arm in spec["arms"] if arm["method"] in {"sft", method}]
    sizes = {size for arm in spec["arms"] for size in arm.get("sizes", [])}
    spec["problems"]["sizes"] = sorted(sizes) or SFT_SIZES
    spec["problems"]["test"] = {"format": "table", "path": str(out / "validation.jsonl")}
    spec["policy"]["model"]["path"] = str(QUICKSTART.parent / spec["policy"]["model"]["path"])
    spec["storage"] = {"uri": f"file://{out / 'store'}"}
    spec["seeds"] = SEEDS
    return made


def run(made: dict[str, Any], name: str, out: Path) -> Accuracy:
    """Run one experiment and read its accuracies."""
    made["metadata"]["name"] = name
    file, work = out / f"{name}.yaml", out / name
    file.write_text(json.dumps(made, indent=1), encoding="utf-8")  # JSON is YAML, and leaves no doubt what is text
    subprocess.run(
        [sys.executable, "-m", "misstep", "run", str(file), "--work", str(work), "--quiet"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
    )
    cells = json.loads((work / "results.json").read_text(encoding="utf-8"))["cells"]
    return {(cell["arm"], cell["size"]): cell["pass_at"]["1"]["value"] for cell in cells}


def search(method: str, base: dict[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """Try every setting of a method and return, for each of its arms, the one with the best mean accuracy."""
    arms = {arm["name"] for arm in base["spec"]["arms"] if arm["method"] == method}
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for number, setting in enumerate(GRID[method]):
        made = with_setting(for_search(base, method, out), method, setting)
        found = run(made, f"search-{method}-{number}", out)
        print(f"\n{method} {setting}")
        for (arm, size), accuracy in found.items():
            if arm in arms:
                print(f"  {arm:20} D={size:5} {accuracy:.3f}", flush=True)
        for arm in arms:
            scores[arm][number] = fmean(accuracy for (name, _), accuracy in found.items() if name == arm)
    return {arm: GRID[method][max(by_number, key=by_number.__getitem__)] for arm, by_number in scores.items()}


def main() -> None:
    """Search SFT first, then the methods that start from it, and print what to freeze."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/search"), help="folder for the store and results")
    out: Path = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    base = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    chooses = base["spec"]["problems"]["validation"]["limit"]
    problems = list(generate("validation", chooses + PROBLEMS, seed=0))[chooses:]
    rows = [{"question": p.question, "answer": p.gold} for p in problems]
    (out / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for method in GRID:
        best = search(method, base, out)
        for arm, setting in best.items():
            print(f"best for {arm}: {setting}")
        if method == "sft":
            base = with_setting(base, "sft", best["sft"])


if __name__ == "__main__":
    main()
