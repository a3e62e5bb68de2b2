"""A store with a finished experiment, written without any model: what trackers read of it is all there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts import manifest
from misstep.artifacts.output import Output
from misstep.artifacts.records import SELECTION, TRAINING_LOG
from misstep.evaluation.estimates import CellWorth, Estimate, Worth
from misstep.evaluation.results import Answers, Cell, Problems, Results
from misstep.evaluation.results_table import as_csv
from misstep.plan.frozen import External, FrozenStage
from misstep.plan.kinds import KINDS, StageKind
from misstep.plan.planner import Plan, plan
from misstep.runner.workdir import Workdir
from misstep.spec import Experiment, parse_experiment
from misstep.store.base import Store
from misstep.store.open import open_store
from misstep.terms.methods import Method
from tests.artifacts.making import finish_block

STEPS = 40
"""Rows of each training's log."""
_MODEL = {"model": External(uri="/models/base", digest="sha256:1")}
_CREDIT = {"negatives": 60, "pits": 35, "prefixes": 47, "rollouts": 203, "generated_tokens": 1817}
_SUMMARIES: dict[StageKind, dict[str, Any]] = {
    StageKind.SAMPLE: {"samples": 80, "generated_tokens": 1000, "prompt_tokens": 500},
    StageKind.VERIFY: {"samples": 80, "verdicts": {"correct": 20, "wrong": 60}, "cut_off": 0},
    StageKind.CREDIT: {**_CREDIT, "prompt_tokens": 1187},
    StageKind.PAIRS: {"pairs": 32, "candidates": 60, "problems_with_pairs": 30},
    StageKind.SCORE: {"pass_at": {"1": {"value": 0.25, "low": 0.2, "high": 0.3}}, "maj_at": {}},
}


def experiment(folder: Path) -> Experiment:
    return parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: small}}
spec:
  storage: {{uri: "{(folder / "store").as_uri()}"}}
  problems:
    train: {{format: strides, limit: 400}}
    test: {{format: strides, limit: 100}}
    sizes: [60]
  policy: {{model: {{path: base}}}}
  arms:
  - {{name: sft, method: sft}}
  - {{name: step, method: dpo, pairs: shared-prefix}}
""")


def planned(folder: Path) -> Plan:
    return plan(experiment(folder), _MODEL)


def loss(step: int) -> float:
    return 1.0 / step


def training_tables(steps: int = STEPS) -> dict[str, pa.Table]:
    log = [
        {"step": step, "epoch": step / 10, "loss": loss(step), "learning_rate": 1e-3, "rewards_margin": 0.5}
        for step in range(1, steps + 1)
    ]
    scores = {"problems": 20, "train_problems": 0, "train_correct": 0, "chosen": False, "policy": False}
    selection = [{"epoch": step // 10, "step": step, "correct": 4, **scores} for step in range(10, steps + 1, 10)]
    return {
        "log": pa.Table.from_pylist(log, schema=TRAINING_LOG),
        "selection": pa.Table.from_pylist(selection, schema=SELECTION),
    }


def commit(store: Store, stage: FrozenStage, scratch: Path, output: Output) -> None:
    scratch.mkdir(exist_ok=True)
    finish_block(store, stage, 0, 1, output, scratch)
    manifest.commit(store, stage, 1)


def output_of(stage: FrozenStage, scratch: Path, steps: int = STEPS) -> Output:
    if KINDS[stage.kind].trains:
        return Output(tables=training_tables(steps), summary={"rows": 60, "tokens": 5000, "steps": steps})
    if stage.kind is StageKind.REPORT:
        texts = {"results.json": results().to_json(), "results.csv": as_csv(results()), "report.html": "<p>report"}
        scratch.mkdir(exist_ok=True)
        for name, text in texts.items():
            (scratch / name).write_text(text)
        return Output(files={name: scratch / name for name in texts})
    return Output(summary=_SUMMARIES.get(stage.kind, {"rows": 1}))


def results() -> Results:
    answers = Answers(samples=8, correct=2, wrong=6, unparsable=0, timeout=0, cut_off=0)
    given: list[tuple[str, Method, float, float]] = [("sft", "sft", 0.25, 1.0), ("step", "dpo", 0.4, 3.0)]
    cells = [
        Cell(
            arm=arm, method=method, layout=None, size=60, seeds=(0,), pass_at={1: Estimate(value, 0.1, 0.5)},
            maj_at={}, answers=answers, worth=CellWorth(None, None, Worth(), Worth("=", factor, 2.0, 4.0, 180.0)),
        )
        for arm, method, value, factor in given
    ]  # fmt: skip
    return Results(
        title="t", test_problems=100, seeds=(0,), sizes=(60,), bootstrap=100, yardstick="sft", fit=None, no_fit=None,
        cells=tuple(cells), comparisons=(), median_factors={}, points=(), sampled=(), credit=(),
        problems=Problems(counts={}), conclusion="", notes=(),
    )  # fmt: skip


def finished(folder: Path, steps: int = STEPS) -> Plan:
    """Write a whole experiment into ``folder/store``, and its working folder as ``folder/work``."""
    made = planned(folder)
    store = open_store(made.storage)
    for stage in made.stages:
        commit(store, stage, folder / "scratch", output_of(stage, folder / "scratch", steps))
    workdir = Workdir(folder / "work")
    workdir.create()
    workdir.write_plan(made)
    workdir.write_experiment(experiment(folder).resolved())
    return made


Points = Mapping[str, list[tuple[int, float]]]
"""Name of a metric -> its (step, value) in the order in which a tracker shows them."""


def check_training(points: Points, steps: int = STEPS) -> None:
    """Check that a tracker has each point of a training once, and none else."""
    expected = [(step, loss(step)) for step in range(1, steps + 1)]
    found = sorted(points["train/loss"])
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert all(abs(value - right) < 1e-6 for (_, value), (_, right) in zip(found, expected, strict=True))
    assert [step for step, _ in sorted(points["train/rewards_margin"])] == list(range(1, steps + 1))
    assert sorted(points["validation/accuracy"]) == [(step, 0.2) for step in range(10, steps + 1, 10)] or all(
        abs(value - 0.2) < 1e-6 for _, value in points["validation/accuracy"]
    )
    assert [step for step, _ in sorted(points["validation/accuracy"])] == list(range(10, steps + 1, 10))
