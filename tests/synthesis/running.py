"""Run the stages up to curate on a folder store, as the command line would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from misstep.artifacts.manifest import Manifest
from misstep.artifacts.reader import Reader
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan, plan
from misstep.sources import resolve
from misstep.spec import load_experiment
from misstep.stages.shell import run_stage
from misstep.store.open import open_store


def seeds(count: int) -> list[dict[str, str]]:
    """Seed problems that are near-duplicates of nothing."""
    return [
        {
            "question": f"Tom{i} has {i} red balls and buys {i + 1} blue ones in shop number {i}. How many has he now?",
            "answer": str(2 * i + 1),
            "solution": f"{i} + {i + 1} = {2 * i + 1}\n#### {2 * i + 1}",
        }
        for i in range(count)
    ]


def experiment(folder: Path, teacher: str, rows: list[dict[str, str]], more: str = "", sizes: str = "[2]") -> Path:
    """Write an experiment with table data and return its YAML file."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    test = [{"question": f"Test {i}: what is {i} times 2?", "answer": str(2 * i), "solution": "x"} for i in range(5)]
    for split, content in {"train": rows, "test": test, "validation": test_like(4)}.items():
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/config.json").write_text("{}")
    path = folder / "e.yaml"
    source = "{format: table, path: data, columns: {solution: solution}}"
    path.write_text(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  storage: {{uri: 'file://{folder}/store'}}
  problems: {{train: {source}, validation: {source}, sizes: {sizes}}}
  policy: {{model: {{path: model}}}}
  verification: {{answerFormat: hash}}
  teacher: {teacher}
{more}
""")
    return path


def test_like(count: int) -> list[dict[str, str]]:
    return [
        {"question": f"Validation {i}: what is {i} plus 100?", "answer": str(i + 100), "solution": "x"}
        for i in range(count)
    ]


def planned(path: Path) -> Plan:
    found = load_experiment(path)
    return plan(found, resolve(found))


def stage_of(made: Plan, kind: StageKind) -> FrozenStage:
    return next(stage for stage in made.stages if stage.kind is kind)


def run(made: Plan, *kinds: StageKind) -> Manifest:
    """Run stages of these kinds, by default those of a teacher, and return the last one's manifest."""
    manifest = None
    for kind in kinds or (StageKind.PROBLEMS, StageKind.SYNTHESIZE, StageKind.CURATE):
        manifest = run_stage(stage_of(made, kind)).manifest
    assert manifest is not None
    return manifest


def rows_of(made: Plan, kind: StageKind, table: str, folder: Path) -> list[dict[str, Any]]:
    stage = stage_of(made, kind)
    found: list[dict[str, Any]] = (
        Reader(open_store(stage.storage), folder / "cache").table(stage.key, table).to_pylist()
    )
    return found


def endpoint(url: str, more: str = "", **fields: object) -> str:
    """Write `spec.teacher` for a server; `fields` are the endpoint's."""
    given = "".join(f", {name}: {value}" for name, value in fields.items())
    return f"{{kind: endpoint, endpoint: {{url: '{url}', model: m{given}}}{more}}}"
