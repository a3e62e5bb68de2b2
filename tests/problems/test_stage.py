"""The problems stage on real data sets, through the real shell and store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from misstep.artifacts.reader import Reader
from misstep.artifacts.store import open_store
from misstep.errors import BadInput
from misstep.plan.planner import plan
from misstep.sources import resolve
from misstep.spec import load_experiment
from misstep.stages.shell import run_stage
from tests.shared_data import shared_data


def ingest(folder: Path, problems: str, answer_format: str = "auto") -> tuple[pa.Table, dict[str, Any]]:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/config.json").write_text("{}")
    (folder / "e.yaml").write_text(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  storage: {{uri: 'file://{folder}/store'}}
  problems: {problems}
  policy: {{model: {{path: model}}}}
  verification: {{answerFormat: {answer_format}}}
""")
    experiment = load_experiment(folder / "e.yaml")
    stage = plan(experiment, resolve(experiment)).stages[0]
    manifest = run_stage(stage).manifest
    assert manifest is not None
    reader = Reader(open_store(stage.storage), folder / "cache")
    return reader.table(stage.key, "problems"), dict(manifest.summary)


def test_gsm8k_whole(tmp_path: Path) -> None:
    table, summary = ingest(
        tmp_path, f"{{train: {{format: gsm8k, path: {shared_data('gsm8k')}}}, sizes: [64]}}", "hash"
    )
    assert summary["problems"]["test"] == 1319 and summary["problems"]["validation"] == 200
    assert summary["problems"]["train"] + summary["left_out_of_training"] + 200 == 7473
    assert summary["teacher_solutions"] == {"correct": summary["problems"]["train"]}
    assert not summary["bad_gold"] and len(set(table["problem_id"].to_pylist())) == table.num_rows


@pytest.mark.slow
def test_math_whole(tmp_path: Path) -> None:
    table, summary = ingest(tmp_path, f"{{train: {{format: math, path: {shared_data('math')}}}, sizes: [64]}}", "boxed")
    assert summary["problems"]["test"] >= 4990
    assert sum(summary["bad_gold"].values()) <= 10, summary["bad_gold_examples"]
    verdicts = Counter(table.filter(pa.compute.equal(table["split"], "train"))["solution_verdict"].to_pylist())
    assert verdicts["correct"] >= 0.999 * sum(verdicts.values()), verdicts


def test_strides_splits_are_disjoint(tmp_path: Path) -> None:
    source = "{format: strides, limit: %d}"
    table, summary = ingest(
        tmp_path, f"{{train: {source % 300}, validation: {source % 50}, test: {source % 60}, sizes: [64]}}", "hash"
    )
    assert summary["problems"] == {"test": 60, "train": 300, "validation": 50}
    assert summary["teacher_solutions"] == {"correct": 300}
    assert len(set(table["question"].to_pylist())) == 410


def test_solutions_that_never_reach_the_answer_stop_the_experiment(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(
            "".join(f'{{"question": "{split} {i}?", "answer": "{i}", "solution": "no"}}\n' for i in range(300))
        )
    source = f"{{format: table, path: {tmp_path}, columns: {{solution: solution}}}}"
    with pytest.raises(BadInput, match="no teacher solution reaches"):
        ingest(tmp_path, f"{{train: {source}, sizes: [64]}}", "hash")
    assert not list((tmp_path / "store").rglob("*.parquet"))
