"""Compare the cost model with real runs on a CPU: tokens by kind of stage, and the peak memory of its processes.

    PYTHONPATH=services python benchmarks/cost.py quickstart          (both seeds, three sizes: some 10 minutes)
    PYTHONPATH=services python benchmarks/cost.py gsm8k --data DIR --model DIR      (24 problems: some 10 minutes)
    PYTHONPATH=services python benchmarks/cost.py FILE --work DIR     (an Experiment that ran there already)

Predictions are what `misstep plan` shows: the defaults of the format, or the YAML's own assumptions. How many responses
are right differs more between seeds than any formula could tell: `--shares` takes these shares from the run's own
verdicts instead, and so checks the arithmetic alone. Stages run as processes of their own (`--isolate`), as pods do:
under the fork server, a process also counts what the server imported for other stages. Exit code 1 where a figure is
more than 15% off. Where `patience` ended a training early, its tokens are compared epoch by epoch: when it stops is
luck.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misstep.api.opening import load, make_costed_plan, store_of
from misstep.artifacts.manifest import Manifest, read_manifest
from misstep.artifacts.reader import Reader
from misstep.cost import StageCost, plan_cost
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.spec.load import read_document
from misstep.store.base import Store
from misstep.terms.verdict import Verdict

ROOT = Path(__file__).parents[1]
MOST_OFF = 0.15
_MEASURED = {"generated": "generated_tokens", "read": "prompt_tokens", "trained": "tokens"}


@dataclass(frozen=True)
class Compared:
    """One figure of one kind of stage."""

    kind: str
    what: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured

    @property
    def close(self) -> bool:
        return abs(self.ratio - 1) <= MOST_OFF


def compare(costs: Mapping[str, StageCost], manifests: Mapping[str, Manifest]) -> Iterator[Compared]:
    """Add up predictions and measurements of every finished stage with a model, by kind; for memory, take the
    largest."""
    tokens: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    memory: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, cost in costs.items():
        manifest = manifests.get(name)
        if manifest is None or not cost.work.tokens or not _worked(manifest.summary):
            continue
        kind = str(cost.stage.kind)
        for field, measured in _MEASURED.items():
            if measured in manifest.summary:
                predicted = getattr(cost.work, field) * _share_of_epochs(cost, manifest)
                tokens[kind, field][0] += predicted
                tokens[kind, field][1] += manifest.summary[measured]
        if cost.memory is not None and manifest.timings.peak_memory_mib is not None:
            memory[kind][0] = max(memory[kind][0], cost.memory.mib)
            memory[kind][1] = max(memory[kind][1], manifest.timings.peak_memory_mib)
    for (kind, field), counts in sorted(tokens.items()):
        yield Compared(kind, f"tokens {field}", *counts)
    for kind, sizes in sorted(memory.items()):
        yield Compared(kind, "peak MiB", *sizes)


def _worked(summary: Mapping[str, Any]) -> bool:
    """Return whether there was anything to do: a training without rows writes its start model."""
    return summary.get("trained", True) and summary.get("rollouts", 1) > 0


def _share_of_epochs(cost: StageCost, manifest: Manifest) -> float:
    """Return the trained epochs, as a multiple of the expected ones."""
    if "epochs" not in manifest.summary or not cost.work.items:
        return 1.0
    per_epoch = manifest.summary["steps"] / manifest.summary["epochs"]
    expected_epochs = cost.work.items / per_epoch
    patience = (manifest.params.get("selection") or {}).get("patience")
    return 1.0 if patience is None else manifest.summary["epochs"] / expected_epochs


def measured_shares(store: Store, plan: Plan) -> dict[str, int]:
    """Return the policy's shares of verdicts on training problems, as fields of `spec.assumptions`."""
    counts: Counter[str] = Counter()
    solved: dict[tuple[str, str], bool] = {}
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(store, Path(scratch))
        for stage in plan.stages:
            if stage.kind is not StageKind.VERIFY or stage.name.startswith("verify-test-"):
                continue
            for row in reader.table(stage.key, "verdicts", ["problem_id", "verdict"]).to_pylist():
                counts[row["verdict"]] += 1
                problem = (stage.key, row["problem_id"])
                solved[problem] = solved.get(problem, False) or row["verdict"] == Verdict.CORRECT
        reader.close()
    return {
        "correct_percent": round(100 * counts[Verdict.CORRECT] / counts.total()),
        "wrong_percent": round(100 * counts[Verdict.WRONG] / counts.total()),
        "solved_percent": round(100 * sum(solved.values()) / len(solved)),
    }


def cut_down(name: str, folder: Path) -> tuple[Path, list[str]]:
    """Write a smaller version of an example; return it and the options for the run to measure."""
    if name == "quickstart":
        document = read_document(ROOT / "examples/quickstart.yaml")
        document["spec"]["policy"]["model"]["path"] = str(ROOT / "examples/quickstart-base")
        document["spec"]["problems"]["sizes"] = [125, 250, 500]
        document["spec"]["seeds"] = [0, 1]
        only: list[str] = []
    else:
        document = read_document(ROOT / "examples/gsm8k-smollm2.yaml")
        document["spec"]["problems"]["sizes"] = [24]
        step = {"name": "dpo-step", "method": "dpo", "pairs": "shared-prefix"}
        document["spec"]["arms"] = [{"name": "sft", "method": "sft"}, step]
        document["spec"]["training"]["sft"] |= {"epochs": 1, "selection": {"epochs": [1], "problems": 12}}
        document["spec"]["seeds"] = [1]
        only = ["--only", "credit-d24-s1"]
    document["metadata"]["name"] = f"cost-{name}"
    path = folder / f"cost-{name}.yaml"
    path.write_text(json.dumps(document))  # YAML too, with every text in quotes
    return path, only


def main() -> int:
    """Run or read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="quickstart, gsm8k, or an Experiment YAML")
    parser.add_argument("--work", type=Path, help="folder to run in, or where it has run")
    parser.add_argument("--data", help="for gsm8k: folder of the data set")
    parser.add_argument("--model", help="for gsm8k: folder of SmolLM2")
    parser.add_argument("--shares", action="store_true", help="take shares of right and wrong from the run")
    options = parser.parse_args()
    folder = (options.work or Path(tempfile.mkdtemp(prefix="misstep-cost-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = {"gsm8k": options.data} if options.data else {}
    models = {"smollm2": options.model} if options.model else {}
    path = Path(options.what).resolve()
    if options.what in ("quickstart", "gsm8k"):
        path, only = cut_down(options.what, folder)
        named = [f"--data={name}={given}" for name, given in data.items()]
        named += [f"--model={name}={given}" for name, given in models.items()]
        command = [sys.executable, "-m", "misstep", "run", str(path), "--isolate", "--quiet", *only, *named]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
        subprocess.run(command, cwd=folder, env=environment, check=True)
    os.chdir(folder)  # a relative store is meant from where the command ran
    plan, cost = make_costed_plan(load(path), data, models)
    store = store_of(plan)
    if options.shares:
        shares = measured_shares(store, plan)
        print(", ".join(f"{name} {value}" for name, value in shares.items()))
        cost = plan_cost(plan, cost.coster.model, cost.coster.assumptions.model_copy(update=shares))
    found = {stage.name: read_manifest(store, stage.key) for stage in plan.stages}
    compared = list(compare(cost.stages, {name: m for name, m in found.items() if m is not None}))
    for one in compared:
        mark = "" if one.close else f"   more than {MOST_OFF:.0%} off"
        print(
            f"{one.kind:<8} {one.what:<18} {one.predicted:>12,.0f} predicted {one.measured:>12,.0f} measured   "
            f"{one.ratio:.2f}{mark}"
        )
    return 0 if compared and all(one.close for one in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
