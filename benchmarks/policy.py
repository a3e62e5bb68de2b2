"""Which checkpoint of SFT makes the best policy, on validation problems: the measurement behind the default of
`spec.training.sft.policy`.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/policy.py

Runs `misstep tune` on the quickstart once for each epoch that the policy may be taken from, with seeds of its own. Each
arm gets the best setting of one small grid, so that no policy loses by settings that suit another one. No test problem
is read. Beside what the methods reach it prints what a rule could go by, as means over the seeds:

- validation, own: accuracy on validation problems and on the policy's own training problems, one answer each.
- mixed: the share of training problems with right and wrong ones among the first four samples.
- learnability: twice p(1-p) over the training problems, without bias from 16 samples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from misstep.artifacts.reader import Reader
from misstep.spec.load import read_document
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep.terms.verdict import Verdict

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
ARMS = {"rft": "rft", "dpo-random": "random pairs", "dpo-step": "step DPO"}
MEASURES = ("validation", "own", "mixed", "learnability")


def experiment(epoch: int, size: int, out: Path) -> dict[str, Any]:
    """Return the quickstart with the policy of one epoch, the arms of the table, and a small grid."""
    made: dict[str, Any] = read_document(QUICKSTART)
    made["metadata"]["name"] = f"policy-{epoch}"
    spec = made["spec"]
    spec["storage"] = {"uri": f"file://{out / 'store'}"}
    spec["policy"]["model"]["path"] = str(QUICKSTART.parent / spec["policy"]["model"]["path"])
    spec["problems"]["sizes"] = [size]
    spec["training"]["sft"]["policy"] = {"epoch": epoch}
    spec["arms"] = [{"name": "sft", "method": "sft"}, {"name": "rft", "method": "rft"}]
    spec["arms"] += [
        {"name": "dpo-random", "method": "dpo", "pairs": "random"},
        {"name": "dpo-step", "method": "dpo", "pairs": "shared-prefix"},
    ]
    grid = {"beta": [0.1, 0.3]}
    spec["search"] = {"seeds": [200, 201, 202], "problems": 1000, "dpo": grid}
    return made


def tune(made: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run one search; return its search.json, and its plan under ``plan``."""
    name = made["metadata"]["name"]
    file, work = out / f"{name}.yaml", out / name
    file.write_text(json.dumps(made, indent=1), encoding="utf-8")  # JSON is YAML
    subprocess.run(
        [sys.executable, "-m", "misstep", "tune", str(file), "--work", str(work), "--quiet"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
    )
    found: dict[str, Any] = json.loads((work / "search.json").read_text(encoding="utf-8"))
    return found | {"plan": json.loads((work / "plan.json").read_text(encoding="utf-8"))}


def measures(reader: Reader, found: Mapping[str, Any]) -> dict[str, float]:
    """Return the quantities that a rule could use, each as a mean over the seeds."""
    seen: dict[str, list[float]] = defaultdict(list)
    for stage in found["plan"]["stages"]:
        if stage["kind"] == "sft":
            policy = reader.manifest(stage["key"]).summary["policy"]
            seen["validation"].append(policy["validation_correct"] / policy["validation_problems"])
            seen["own"].append(policy["train_correct"] / policy["train_problems"])
        elif stage["kind"] == "verify" and stage["name"].startswith("verify-d"):
            right: dict[str, list[bool]] = defaultdict(list)
            rows = reader.table(stage["key"], "verdicts", ["problem_id", "sample", "verdict"]).sort_by("sample")
            for row in rows.to_pylist():
                right[row["problem_id"]].append(row["verdict"] == Verdict.CORRECT)
            seen["mixed"].append(fmean(0 < sum(drawn[:4]) < 4 for drawn in right.values()))
            seen["learnability"].append(fmean(_learnability(sum(d), len(d)) for d in right.values()))
    return {name: fmean(values) for name, values in seen.items()}


def _learnability(correct: int, samples: int) -> float:
    return 2 * correct * (samples - correct) / (samples * (samples - 1))


def main() -> None:
    """Run every epoch and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 4, 8, 16], help="of the policy")
    parser.add_argument("--size", type=int, default=125, help="training problems")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "policy", help="for stages and results")
    given = parser.parse_args()
    out: Path = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print("| epoch | " + " | ".join((*MEASURES, *ARMS.values())) + " |")
    print("|---" * (1 + len(MEASURES) + len(ARMS)) + "|")
    for epoch in given.epochs:
        found = tune(experiment(epoch, given.size, out), out)
        with tempfile.TemporaryDirectory() as scratch:
            reader = Reader(open_store(Storage(uri=f"file://{out / 'store'}")), Path(scratch))
            seen = measures(reader, found)
            reader.close()
        best = {arm["arm"]: arm["tried"][arm["chosen"]] for arm in found["arms"]}
        reached = [f"{100 * best[a]['mean']:.1f} ± {100 * best[a]['standard_error']:.1f}%" for a in ARMS]
        shares = [f"{seen[name]:.2f}" if name == "learnability" else f"{100 * seen[name]:.0f}%" for name in MEASURES]
        print(f"| {epoch} | " + " | ".join((*shares, *reached)) + " |", flush=True)


if __name__ == "__main__":
    main()
