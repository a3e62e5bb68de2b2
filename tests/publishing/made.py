"""A finished experiment whose artifacts are made by hand, under the keys of its real plan: nothing is trained."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts.manifest import commit
from misstep.artifacts.output import Output
from misstep.artifacts.records import TABLES
from misstep.cli.experiments import load, make_plan
from misstep.evaluation.estimates import CellWorth, Estimate, Worth
from misstep.evaluation.results import Answers, Cell, Point, Problems, Results, Training
from misstep.generation.text import encode
from misstep.generation.tokenizers import load_tokenizer
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.runner.workdir import Workdir
from misstep.store.open import open_store
from tests.artifacts.making import finish_block
from tests.credit.inputs import BASE

NAME = "small"
QUESTION = "start 35: 1a 2a 3f 4d ?"
RIGHT = "1a 31\n2a 18\n3f 34\n4d 10\n#### 10"
WRONG = "1a 31\n2a 19\n3f 35\n4d 11\n#### 11"
HOSTILE = "](http://evil.example) <script>alert(1)</script> @someone\n---\nlicense: mit\n---\n# Heading | cell ``` $x$"
YAML = f"""
# a comment that may hold anything: /home/someone/secret
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: {NAME}, namespace: research, annotations: {{owner: somebody}}}}
spec:
  storage: {{uri: "file://STORE", endpoint: "http://minio.internal:9000"}}
  problems:
    train: {{format: strides, limit: 120}}
    validation: {{format: strides, limit: 20}}
    test: {{format: strides, limit: 40, seed: 1}}
    sizes: [30, 60]
  policy:
    model: {{path: {BASE}}}
    prompt: {{template: "{{question}}\\n"}}
  sampling: {{maxNewTokens: 48}}
  training:
    dpo: {{loraRank: 4}}
  seeds: [0, 1]
  arms:
    - {{name: sft, method: sft}}
    - {{name: dpo-step, method: dpo, pairs: shared-prefix}}
    - {{name: dpo-random, method: dpo, pairs: random}}
  secrets: [{{env: HF_TOKEN, secret: tokens, key: hub}}]
"""


@dataclass
class Made:
    """Where it is; ``folder`` is the current folder of commands that find it by name."""

    folder: Path
    file: Path
    plan: Plan


def make(folder: Path) -> Made:
    """Make it. Of seed 1 nothing is finished, and at 30 problems only ``sft``."""
    file = folder / "small.yaml"
    file.write_text(YAML.replace("STORE", str(folder / "store")), encoding="utf-8")
    plan = make_plan(load(file))
    store = open_store(plan.storage)

    def finish(name: str, **output: Any) -> None:
        stage = plan.stage(name)
        tables = {table: _table(stage, table, ()) for table in TABLES[stage.kind.value]} | output.pop("tables", {})
        finish_block(store, stage, 0, 1, Output(tables=tables, summary={}, **output), folder)
        commit(store, stage, 1)

    model = {f"model/{path.name}": path for path in BASE.iterdir()}
    for name in ("sft-d30-s0", "sft-d60-s0", "dpo-step-d60-s0"):
        finish(name, files=model)
    for name, rows in _rows().items():
        stage = plan.stage(name)
        finish(name, tables={table: _table(stage, table, found) for table, found in rows.items()})
    results = folder / "results.json"
    results.write_text(_results().to_json(), encoding="utf-8")
    finish("report", files={"results.json": results})
    workdir = Workdir(folder / ".misstep" / NAME)
    workdir.create()
    workdir.write_plan(plan)
    workdir.run_file.write_text(json.dumps({"file": str(file), "pid": os.getpid()}), encoding="utf-8")
    return Made(folder, file, plan)


def _table(stage: FrozenStage, table: str, rows: Any) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TABLES[stage.kind.value][table])


def _rows() -> dict[str, dict[str, list[dict[str, Any]]]]:
    tokenizer = load_tokenizer(BASE)
    prompt, end = encode(tokenizer, f"{QUESTION}\n"), tokenizer.eos_token_id
    answers = [
        (RIGHT, "correct", "stop"),
        (WRONG, "wrong", "stop"),
        (WRONG, "wrong", "length"),
        ("?", "unparsable", "stop"),
    ]
    samples, verdicts = [], []
    for number, (text, verdict, reason) in enumerate(answers):
        at = {"problem_id": "p1", "sample": number}
        ids = {"prompt_ids": prompt, "token_ids": [*encode(tokenizer, text), end]}
        samples.append(at | ids | {"text": text, "finish_reason": reason})
        verdicts.append(at | {"verdict": verdict, "extracted": text[-2:], "rule": "hash", "verifier": "test"})
    steps = [f"{line}\n" for line in WRONG.splitlines()[:-1]] + [WRONG.splitlines()[-1]]
    ends = [len(encode(tokenizer, "".join(steps[: n + 1]))) for n in range(len(steps))]
    negative = {
        **{name: samples[1][name] for name in ("problem_id", "sample", "token_ids", "text")},
        "step_ends": ends,
        "step_texts": steps,
        "prefix_ids": [f"x{n}" for n in range(len(steps) + 1)],
        "q": [0.75, 0.5, 0.0, 0.0, 0.0, 0.0],
        "advantages": [-0.25, -0.5, 0.0, 0.0, 0.0],
        "alive": [None] * 6,
        "certainty": None,
        "solved": [1] * 5,
        "failed": [1] * 5,
        "pit": 2,
        "reason": None,
        "true_pit": 2,
    }
    pair = {
        "pair_id": "a",
        "problem_id": "p1",
        "layout": "shared-prefix",
        "negative_sample": 1,
        "pit": 2,
        "prompt_ids": [*prompt, *encode(tokenizer, steps[0])],
        "chosen_ids": [*encode(tokenizer, RIGHT.removeprefix(steps[0])), end],
        "rejected_ids": encode(tokenizer, steps[1]),
        "chosen_source": "rollout",
        "rejected_complete": False,
        "chosen_text": RIGHT.removeprefix(steps[0]),
        "rejected_text": steps[1],
        "weight": 1.0,
    }
    return {
        "sample-d60-s0": {"samples": samples},
        "verify-d60-s0": {"verdicts": verdicts},
        "credit-d60-s0": {"negatives": [negative]},
        "pairs-dpo-step-d60-s0": {"pairs": [pair]},
    }


def _results() -> Results:
    answers = Answers(samples=160, correct=80, wrong=70, unparsable=10, timeout=0, cut_off=0)
    accuracy = {1: Estimate(0.5, 0.42, 0.58)}
    training = Training(trained=True, rows=7, steps=9, kept_steps=6, best_epoch=2)
    arm: dict[str, Any] = {"arm": "dpo-step", "method": "dpo", "layout": "shared-prefix", "size": 60}
    measured: dict[str, Any] = {"pass_at": accuracy, "maj_at": {}, "answers": answers}
    worth = CellWorth(None, None, Worth(reason="no curve"), Worth("=", 8.0, 5.0, 11.0))
    return Results(
        title=HOSTILE,
        test_problems=40,
        seeds=(0, 1),
        sizes=(30, 60),
        bootstrap=400,
        yardstick="sft",
        fit=None,
        no_fit="Too few sizes.",
        cells=(Cell(**arm, **measured, seeds=(0, 1), worth=worth),),
        comparisons=(),
        median_factors={},
        points=(Point(**arm, **measured, seed=0, problems=40, training=training),),
        sampled=(),
        credit=(),
        problems=Problems(counts={"train": 120, "test": 40}),
        headline=HOSTILE,
        conclusion="Nothing was shown.",
        notes=("Only 40 test problems.", HOSTILE),
    )
