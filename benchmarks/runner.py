"""The cost of the runner itself: wall time outside stages, the start of a stage, and planning.

    PYTHONPATH=services python benchmarks/runner.py                             (runs a small experiment first)
    PYTHONPATH=services python benchmarks/runner.py --run .misstep/quickstart   (of a run that there is)

Outside stages is the share of a whole run's wall time in which no stage's process ran, from the run's own record;
the seconds before the first one, in which libraries are imported, are in it. A start is timed on a training stage
that is committed already, from the request to the end of its process: all of `misstep stage` but the work. It stands
beside the same command as a fresh process, which imports what the stage would import. Limits are those that the
project sets itself: 5%, 0.5 s, 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan, plan
from misstep.runner import preload
from misstep.runner.launch import Ended, Launcher, Loaded
from misstep.sources import resolve
from misstep.spec import load_experiment

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
ARMS, SIZES, SEEDS = 6, 8, 5
STARTS = 10
SMALL = f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: small}}
spec:
  problems:
    train: {{format: strides, limit: 200}}
    validation: {{format: strides, limit: 40}}
    test: {{format: strides, limit: 60}}
    sizes: [50, 100]
  policy:
    model: {{path: {ROOT / "examples" / "quickstart-base"}}}
    prompt: {{template: "{{question}}"}}
  verification: {{answerFormat: hash}}
  sampling: {{samples: 8, temperature: 1, maxNewTokens: 48}}
  credit: {{rollouts: 5, bestOf: 5, negativesPerProblem: 1}}
  training:
    sft: {{epochs: 4, batchSize: 16, selection: {{epochs: [4], problems: 40}}}}
    rft: {{epochs: 2, batchSize: 16, selection: {{epochs: [2], problems: 40}}}}
    dpo: {{epochs: 1, batchSize: 16}}
  evaluation: {{samples: 2}}
"""


def seconds_planning() -> tuple[float, int]:
    """Plan a grid of 6 arms x 8 sizes x 5 seeds; return seconds and the number of stages."""
    experiment = load_experiment(QUICKSTART)
    spec = experiment.spec
    sizes = [100 * 2**i for i in range(SIZES)]
    arms = [arm.model_copy(update={"sizes": None}) for arm in spec.arms]
    assert len(arms) == ARMS
    problems = spec.problems.model_copy(update={"sizes": sizes})
    grid = spec.model_copy(update={"problems": problems, "arms": arms, "seeds": list(range(SEEDS))})
    large = experiment.model_copy(update={"spec": grid})
    externals = resolve(large)
    began = time.perf_counter()
    found = plan(large, externals)
    return time.perf_counter() - began, len(found.stages)


def run_small(folder: Path) -> Path:
    """Run a small experiment from nothing; return its working folder."""
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "misstep", "run", "small.yaml"], cwd=folder, env=ENVIRONMENT, check=True)
    return folder / ".misstep" / "small"


def outside_stages(run: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of a run in which no stage's process ran, and all its seconds."""
    began: dict[tuple[str, int], float] = {}
    spans: list[tuple[float, float]] = []
    for event in run["events"]:
        if event["what"] == "shard-started":
            began[event["stage"], event["shard"]] = event["at"]
        elif event["what"] == "shard-ended":
            spans.append((began.pop((event["stage"], event["shard"])), event["at"]))
    whole = run["events"][-1]["at"]
    inside, reached = 0.0, 0.0
    for start, end in sorted(spans):
        inside += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return whole - inside, whole


def seconds_to_start(stage: FrozenStage, path: Path, folder: Path) -> tuple[list[float], float]:
    """Start a committed stage through the fork server repeatedly; return its seconds, and those of the imports."""
    began = time.monotonic()
    modules = preload.in_order([stage.kind])
    launcher = Launcher(folder / "forkserver.log", modules)
    loading = 0.0
    taken = []
    try:
        while loading == 0.0:
            if any(isinstance(report, Loaded) and report.left == 0 for report in launcher.reports(1.0)):
                loading = time.monotonic() - began
        for ident in range(STARTS):
            began = time.monotonic()
            launcher.start(
                ident,
                [str(path), "--shard", "0"],
                log=folder / "stage.log",
                error_file=folder / "stage.error",
                threads=stage.resources.cpus,
                modules=preload.modules_of(stage.kind),
                title=stage.name,
            )
            ended = [report for report in launcher.reports(5.0) if isinstance(report, Ended)]
            while not ended:
                ended = [report for report in launcher.reports(5.0) if isinstance(report, Ended)]
            assert ended[0].code == 0, (folder / "stage.log").read_text()
            taken.append(ended[0].at - began)
    finally:
        launcher.close()
    return taken, loading


def seconds_fresh(kind: StageKind, path: Path) -> float:
    """The same for a new process that imports the same modules as such a stage."""
    script = (
        "import importlib, sys\n"
        f"for name in {preload.modules_of(kind)!r}: importlib.import_module(name)\n"
        f"sys.exit(importlib.import_module('misstep.stages.main').main([{str(path)!r}]))\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, check=True)
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="working folder of a finished run, such as .misstep/quickstart")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = options.run or run_small(folder)
        planning, stages = seconds_planning()
        print(f"planning {ARMS} arms x {SIZES} sizes x {SEEDS} seeds: {planning:.3f} s, {stages} stages (limit 1 s)")
        outside, whole = outside_stages(json.loads((work / "run.json").read_text(encoding="utf-8")))
        print(f"outside stages: {outside:.1f} of {whole:.1f} s, {outside / whole:.1%} (limit 5% of the demo)")
        frozen = Plan.model_validate_json((work / "plan.json").read_bytes())
        stage = next(one for one in frozen.stages if one.kind is StageKind.SFT)
        path = work / "stages" / f"{stage.name}.json"
        taken, loading = seconds_to_start(stage, path, folder)
        fresh = min(seconds_fresh(stage.kind, path) for _ in range(2))
        print(
            f"start of a training stage: {median(taken):.3f} s, at most {max(taken):.3f} s of {STARTS} (limit 0.5 s); "
            f"as a fresh process {fresh:.1f} s, {fresh / median(taken):.0f} times as much; loading once {loading:.1f} s"
        )


if __name__ == "__main__":
    main()
