"""How credit grows with the number of wrong solutions: own processor time and memory, without a model.

    python benchmarks/credit_scale.py
    python benchmarks/credit_scale.py --estimator sequential --sizes 1000 10000

A simulated policy with known success rates (walks on stars: `tests/credit/star.py`) answers problems; the real credit
and pairs stages work on its answers, with real artifacts in a folder. Each size runs in processes of its own. Columns:
the processor time of everything but the simulated policy, in microseconds for each rollout and in milliseconds for each
negative; the peak memory of the process. Rollouts include those of the audit. Exits with 1 if a size
needs more than 50 microseconds a rollout or 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from tests.credit.inputs import Rows, World
from tests.credit.star import ZERO, Star, StarEngine, credit_params

from misstep.credit.estimators import EstimatorName
from misstep.generation import engines
from misstep.generation.engine import Completion, Request
from misstep.generation.seeds import sample_seed
from misstep.plan.kinds import StageKind
from misstep.plan.params import PairsParams

MOST_MICROSECONDS = 50.0
MOST_MIB = 1024
SAMPLES = 16
NEGATIVES = 8
LENGTH = 5


class TimedEngine(StarEngine):
    """The simulated policy, which counts its own processor time."""

    seconds = 0.0
    rollouts = 0

    def submit(self, request: Request) -> None:
        start = time.process_time()
        super().submit(request)
        self.seconds += time.process_time() - start

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        start = time.process_time()
        found = super().logprobs(texts)
        self.seconds += time.process_time() - start
        return found

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        drawn = super().results()
        while True:
            start = time.process_time()
            found = next(drawn, None)
            self.seconds += time.process_time() - start
            if found is None:
                return
            self.rollouts += len(found[1])
            yield found


def star(problem: int) -> Star:
    """Return the policy of one problem: three arms, the goal arm with odds of 0.3 to 0.7, and a slip now and then."""
    rng = random.Random(problem)
    odds = rng.uniform(0.3, 0.7)
    other = rng.uniform(0.2, 0.8) * (1 - odds)
    return Star(odds=(odds, other, 1 - odds - other), length=LENGTH, slip=0.01)


def make_inputs(negatives: int, folder: Path) -> dict[str, str]:
    """Write problems, samples and verdicts with at least so many distinct wrong answers; return the inputs' keys."""
    problems: Rows = []
    samples: Rows = []
    verdicts: Rows = []
    stars: list[Star] = []
    found = 0
    while found < negatives:
        number = len(problems)
        stars.append(star(number))
        name = f"s{number:06d}"
        engine = StarEngine(stars)
        engine.submit(Request(name, [number], [sample_seed(0, name, n) for n in range(SAMPLES)]))
        ((_, completions),) = engine.results()
        gold = str(LENGTH - 1)
        problems.append({"problem_id": name, "split": "train", "question": name, "gold": gold, "source": "star"})
        wrong = set()
        for sample, drawn in enumerate(completions):
            right = drawn.token_ids[-2] == ZERO + LENGTH - 1
            wrong |= set() if right else {drawn.token_ids}
            of = {"problem_id": name, "sample": sample}
            samples.append(
                of
                | {
                    "prompt_ids": [number],
                    "token_ids": list(drawn.token_ids),
                    "text": drawn.text,
                    "finish_reason": drawn.finish_reason,
                }
            )
            verdicts.append(of | {"verdict": "correct" if right else "wrong", "rule": "star", "verifier": "star"})
        found += min(NEGATIVES, len(wrong))
    for row in problems:
        row |= {"solution": None, "solution_verdict": None}
    for row in verdicts:
        row["extracted"] = None
    return World(folder).commit_all(problems, samples, verdicts, part_rows=4096)


def run_stages(inputs: dict[str, str], folder: Path, estimator: EstimatorName, block_rows: int) -> dict[str, Any]:
    """Run credit and pairs; return their figures."""
    world = World(folder)
    world._count = 10  # the inputs have the first numbers
    problems = world._reader.rows(inputs["problems"], "problems")
    engine = TimedEngine([star(number) for number in range(problems)])
    params = credit_params(
        estimator=estimator, rollouts=8, target_error=0.2, negatives_per_problem=NEGATIVES, audit_percent=3
    )
    start = time.process_time()
    with mock.patch.object(engines, "open_engine", lambda *_: engine):
        credit = world.run(StageKind.CREDIT, inputs, params, block_rows)
    middle = time.process_time()
    layout = PairsParams(layout="shared-prefix", per_problem=8, max_pairs=None, seed=0)
    pairs = world.run(StageKind.PAIRS, inputs | {"credit": credit}, layout, block_rows)
    end = time.process_time()
    summary = world.summary(credit)
    return {
        "problems": problems,
        "negatives": summary["negatives"],
        "rollouts": engine.rollouts,
        "credit_seconds": middle - start - engine.seconds,
        "policy_seconds": engine.seconds,
        "pairs_seconds": end - middle,
        "pairs": world.summary(pairs)["pairs"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Print one row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="negatives")
    parser.add_argument("--estimator", choices=get_args(EstimatorName), default="adaptive")
    parser.add_argument("--block-rows", type=int, default=64, help="problems in a block")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--phase", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        name, folder = args.phase
        where = Path(folder)
        if name == "inputs":
            (where / "inputs.json").write_text(json.dumps(make_inputs(args.sizes[0], where / "store")))
        else:
            inputs = json.loads((where / "inputs.json").read_text())
            found = run_stages(inputs, where / "store", args.estimator, args.block_rows)
            (where / "found.json").write_text(json.dumps(found))
        return 0
    print("negatives  problems   rollouts   own us/rollout   own ms/negative   pairs    peak MiB   simulated policy s")
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="misstep-credit-") as folder:
            for phase in ("inputs", "stages"):
                options = ["--sizes", str(size), "--estimator", args.estimator, "--block-rows", str(args.block_rows)]
                command = [sys.executable, __file__, *options, "--phase", phase, folder]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            row = json.loads((Path(folder) / "found.json").read_text())
        own = row["credit_seconds"] + row["pairs_seconds"]
        row["own_microseconds"] = 1e6 * own / row["rollouts"]
        rows.append(row)
        print(
            f"{row['negatives']:9,} {row['problems']:9,} {row['rollouts']:10,} {row['own_microseconds']:16.1f}"
            f" {1e3 * own / row['negatives']:17.2f} {row['pairs']:7,} {row['peak_mib']:11.0f}"
            f" {row['policy_seconds']:20.1f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return int(any(row["own_microseconds"] > MOST_MICROSECONDS or row["peak_mib"] > MOST_MIB for row in rows))


if __name__ == "__main__":
    sys.exit(main())
