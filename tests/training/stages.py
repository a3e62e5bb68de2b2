"""Training stages over small inputs; run as a program it is one stage that may be killed at any moment.

python -m tests.training.stages FOLDER sft|rft|dpo
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts.checkpoints import StoredCheckpoints
from misstep.artifacts.records import NEGATIVES, PAIRS, PROBLEMS, ROLLOUTS, SAMPLES, VERDICTS
from misstep.plan.kinds import StageKind
from misstep.plan.params import (
    DpoParams,
    Params,
    PositivesParams,
    PromptParams,
    RftParams,
    SftParams,
    SubsetParams,
)
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.training import small

PROMPT = PromptParams(style="plain", template="{question} ")
POSITIVES = PositivesParams(per_problem=2, min_distance_percent=0, with_teacher=True)


def problems(train: int = 40, validation: int = 12) -> pa.Table:
    rows = []
    for index, (question, solution, answer) in enumerate(small.questions(train + validation)):
        in_training = index < train
        rows.append(
            {
                "problem_id": f"p{index:03}",
                "split": "train" if in_training else "validation",
                "question": question,
                "gold": answer,
                "solution": solution,
                "solution_verdict": "correct" if in_training else None,
                "source": "table",
            }
        )
    return pa.Table.from_pylist(rows, schema=PROBLEMS)


def samples(of: pa.Table, each: int = 4) -> tuple[pa.Table, pa.Table]:
    """Samples and verdicts: sample 0 is the teacher's solution, 1 another right one, 2 wrong, 3 cut off."""
    rows, verdicts = [], []
    for problem in of.to_pylist():
        if problem["split"] != "train":
            continue
        answer = problem["gold"]
        texts = [problem["solution"], f"and so {answer} #### {answer}", "so 1 #### 19", f"so {answer} #### {answer}"]
        for index, text in enumerate(texts[:each]):
            ended = index != 3
            rows.append(
                {
                    "problem_id": problem["problem_id"],
                    "sample": index,
                    "prompt_ids": small.ids(problem["question"]),
                    "token_ids": [*small.ids(text), *([small.END] if ended else [])],
                    "text": text,
                    "finish_reason": "stop" if ended else "length",
                }
            )
            verdicts.append(
                {
                    "problem_id": problem["problem_id"],
                    "sample": index,
                    "verdict": "wrong" if index == 2 else "correct",
                    "extracted": answer,
                    "rule": "integer",
                    "verifier": "test",
                }
            )
    return pa.Table.from_pylist(rows, schema=SAMPLES), pa.Table.from_pylist(verdicts, schema=VERDICTS)


def pairs(count: int = 40) -> pa.Table:
    rows = [
        {
            "pair_id": f"{index}",
            "problem_id": f"p{index}",
            "layout": "shared-prefix",
            "negative_sample": 0,
            "pit": 1,
            "prompt_ids": row.prompt_ids.tolist(),
            "chosen_ids": row.chosen_ids.tolist(),
            "rejected_ids": row.rejected_ids.tolist(),
            "chosen_source": "rollout",
            "rejected_complete": False,
            "chosen_text": "",
            "rejected_text": "",
            "weight": 0.25 + index % 4,
        }
        for index, row in enumerate(small.pair_examples(count))
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def positives(drawn: pa.Table, lucky: Collection[tuple[str, int]]) -> pa.Table:
    """Credit of the first two samples of each problem, which are correct; some have a step that luck saved."""
    rows = [
        {
            "problem_id": row["problem_id"],
            "sample": row["sample"],
            "token_ids": row["token_ids"],
            "text": row["text"],
            "step_ends": [2, len(row["token_ids"])],
            "step_texts": ["", ""],
            "prefix_ids": ["a", "b", "c"],
            "q": [1.0, 0.0, 1.0],
            "advantages": [-1.0, 1.0],
            "alive": [1.0, 0.0, 1.0],
            "solved": [5, 0],
            "failed": [0, 5],
            "pit": 1 if (row["problem_id"], row["sample"]) in lucky else None,
        }
        for row in drawn.to_pylist()
        if row["sample"] < 2
    ]
    return pa.Table.from_pylist(rows, schema=NEGATIVES)


def rollouts(*drawn: tuple[str, str, list[int], str]) -> pa.Table:
    """Rollouts of credited correct solutions: problem, prefix, tokens, verdict."""
    rows = [
        {
            "problem_id": problem,
            "prefix_id": prefix,
            "rollout": number,
            "token_ids": ids,
            "text": "",
            "verdict": verdict,
            "finish_reason": "stop",
        }
        for number, (problem, prefix, ids, verdict) in enumerate(drawn)
    ]
    return pa.Table.from_pylist(rows, schema=ROLLOUTS)


def sft_params(**changes: Any) -> SftParams:
    settings = {
        "subset": SubsetParams(size=32, seed=0),
        "prompt": PROMPT,
        "optimiser": small.optimiser(epochs=6),
        "selection": small.selection(epochs=(1, 2, 4), problems=8),
    }
    return SftParams(**(settings | changes))


def rft_params(positives: PositivesParams = POSITIVES, **changes: Any) -> RftParams:
    return RftParams(**dict(sft_params(**changes)), positives=positives)


def dpo_params(**changes: Any) -> DpoParams:
    settings: dict[str, Any] = {
        "optimiser": small.optimiser(epochs=6),
        "beta": 0.3,
        "nll_weight": 0.2,
        "prompt": PROMPT,
    }
    return DpoParams(**(settings | {"selection": None} | changes))


def stage(folder: Path, model: Path, params: Params, **tables: pa.Table) -> small.FolderContext:
    """Make the context of a stage; tables replace those of the same name above."""
    of = problems()
    drawn, judged = samples(of)
    held = {"problems": of, "samples": drawn, "verdicts": judged, "pairs": pairs(), "positive_rollouts": rollouts()}
    held |= tables
    kind = {SftParams: StageKind.SFT, RftParams: StageKind.RFT, DpoParams: StageKind.DPO}[type(params)]
    named = {("credit" if name.startswith("positive") else name, name): table for name, table in held.items()}
    return small.FolderContext(folder, kind, params, named, {"model": model, "policy": model})


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    from misstep.training import callback, dpo_stage, sft_stage

    callback.CHECKPOINT_SECONDS, callback.CHECKPOINT_SHARE = 0.0, 0
    params = {"sft": sft_params, "rft": rft_params, "dpo": dpo_params}[kind]()
    context = stage(folder, folder.parent / "model", params)
    store = open_store(Storage(uri=(folder / "store").as_uri()))
    context.checkpoints = StoredCheckpoints(store, f"{kind}-0", context.scratch)  # type: ignore[assignment]
    output = (dpo_stage if kind == "dpo" else sft_stage).open_work(context).run(0)
    result = {
        "log": small.table(output, "log").to_pylist(),
        "selection": small.table(output, "selection").to_pylist(),
        "summary": dict(output.summary),
        "files": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in output.files.items()},
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
