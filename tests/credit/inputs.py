"""Artifacts for the credit and pairs stages: strides problems, answered by the quickstart's base model or another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from misstep.artifacts.output import Output
from misstep.artifacts.reader import Reader
from misstep.artifacts.records import TABLES
from misstep.generation.engine import Request
from misstep.generation.seeds import sample_seed
from misstep.plan import params as p
from misstep.plan.frozen import External, FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.problems.strides import generate
from misstep.stages.context import StageContext, Work
from misstep.stages.registry import REGISTRY
from misstep.stages.shell import run_stage
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep.verification.verifier import Verifier

BASE = Path(__file__).parents[2] / "examples" / "quickstart-base"
DECODING = p.DecodingParams(engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=48)
PROMPT = p.PromptParams(style="plain", template="{question}\n")
_SOURCE = p.SourceParams(format="strides", generator_seed=0)
_PARAMS: dict[StageKind, p.Params] = {
    StageKind.PROBLEMS: p.ProblemsParams(
        train=_SOURCE,
        test=_SOURCE,
        validation=None,
        held_out=0,
        answer_format="hash",
        overlap_ngram=8,
        bad_gold_percent=1,
        verifier="test",
    ),
    StageKind.SAMPLE: p.SampleParams(split="train", subset=None, samples=8, seed=0, prompt=PROMPT, decoding=DECODING),
    StageKind.VERIFY: p.VerifyParams(answer_format="hash", timeout_seconds=2.0, verifier="test"),
}
_prepared: dict[str, tuple[Sequence[dict[str, pa.Table]], dict[str, Any]]] = {}
Rows = list[dict[str, Any]]


class _Prepared:
    """The work of a stage whose tables are there already."""

    def __init__(self, blocks: Sequence[dict[str, pa.Table]], summary: dict[str, Any]) -> None:
        self._blocks, self._summary = blocks, summary

    def blocks(self) -> int:
        return len(self._blocks)

    def run(self, block: int) -> Output:
        return Output(tables=self._blocks[block], summary=self._summary)

    def close(self) -> None:
        pass


def open_prepared(ctx: StageContext) -> Work:
    return _Prepared(*_prepared[ctx.stage.key])


class World:
    """Problems, samples and verdicts in a store, and the credit and pairs stages run on them."""

    def __init__(self, folder: Path, model: Path = BASE) -> None:
        self.storage = Storage(uri=folder.as_uri())
        self._model = External(uri=str(model), digest="base")
        self._count = 0

    def commit(
        self, kind: StageKind, table: str, rows: Rows, part_rows: int, summary: dict[str, Any] | None = None
    ) -> str:
        """Commit an input with one table in parts of so many rows; return its key."""
        self._count += 1
        params = _PARAMS[kind].model_dump(mode="json")
        outside = {"count": External(uri="nowhere", digest=str(self._count))}
        key = stage_key(kind, params, {}, outside)
        starts = range(0, max(1, len(rows)), part_rows)
        schema = TABLES[kind.value][table]
        blocks = [{table: pa.Table.from_pylist(rows[n : n + part_rows], schema=schema)} for n in starts]
        _prepared[key] = blocks, summary or {}
        stage = FrozenStage(kind=kind, name=key, key=key, params=params, externals=outside, storage=self.storage)
        run_stage(stage, registry={**REGISTRY, kind: f"{__name__}:open_prepared"})
        return key

    def commit_all(self, problems: Rows, samples: Rows, verdicts: Rows, part_rows: int = 64) -> dict[str, str]:
        """Commit problems, samples and verdicts; return the inputs of a credit stage."""
        return {
            "problems": self.commit(StageKind.PROBLEMS, "problems", problems, 1000),
            "samples": self.commit(StageKind.SAMPLE, "samples", samples, part_rows),
            "verdicts": self.commit(StageKind.VERIFY, "verdicts", verdicts, part_rows + 7),
        }

    def run(
        self, kind: StageKind, inputs: dict[str, str], params: p.Params, block_rows: int = 16, model: bool = False
    ) -> str:
        """Run a stage with its real code; return its key. The model is the external one, unless it is among the
        inputs.

        Args:
            model: whether a stage of pairs gets it.
        """
        self._count += 1
        without = kind is StageKind.VERIFY or (kind is StageKind.PAIRS and not model)
        role = "policy" if kind in {StageKind.CREDIT, StageKind.PAIRS} else "model"
        outside = {} if without or "model" in inputs or "policy" in inputs else {role: self._model}
        outside["count"] = External(uri="nowhere", digest=str(self._count))
        key = stage_key(kind, params.model_dump(mode="json"), inputs, outside)
        stage = FrozenStage(
            kind=kind,
            name=key,
            key=key,
            params=params.model_dump(mode="json"),
            inputs=inputs,
            externals=outside,
            storage=self.storage,
            block_rows=block_rows,
            resources=Resources(memory_mib=1600, batch_rows=128),
        )
        run_stage(stage)
        return key

    def rows(self, key: str, table: str) -> Rows:
        rows: Rows = self._reader.table(key, table).to_pylist()
        return rows

    def summary(self, key: str) -> dict[str, Any]:
        return dict(self._reader.manifest(key).summary)

    def part_hashes(self, key: str) -> list[str]:
        return [part.sha256 for part in self._reader.manifest(key).parts]

    @property
    def _reader(self) -> Reader:
        return Reader(open_store(self.storage), Path("/nonexistent"))


def answered(problems: int, samples: int) -> tuple[Rows, Rows, Rows]:
    """Return rows of problems, samples and verdicts: strides problems, answered at temperature 1."""
    made = [
        {
            "problem_id": f"p{number:03d}",
            "split": "train",
            "question": problem.question,
            "gold": problem.gold,
            "solution": problem.solution,
            "solution_verdict": "correct",
            "source": "strides",
        }
        for number, problem in enumerate(generate("train", problems, seed=0))
    ]
    from misstep.generation.transformers_engine import load_engine  # torch: not for those who bring their own answers

    engine = load_engine(BASE, DECODING, batch_rows=128, threads=1)
    for row in made:
        name = row["problem_id"]
        ids = engine.tokenizer(row["question"] + "\n", add_special_tokens=False)["input_ids"]
        engine.submit(Request(name, ids, [sample_seed(0, name, n) for n in range(samples)]))
    drawn = {request.request_id: (request, completions) for request, completions in engine.results()}
    answers: Rows = []
    verdicts: Rows = []
    verifier = Verifier("hash")  # type: ignore[arg-type]
    for row in made:
        request, completions = drawn[row["problem_id"]]
        for number, completion in enumerate(completions):
            answers.append(
                {
                    "problem_id": row["problem_id"],
                    "sample": number,
                    "prompt_ids": list(request.prompt_ids),
                    "token_ids": list(completion.token_ids),
                    "text": completion.text,
                    "finish_reason": completion.finish_reason,
                }
            )
            finished = completion.finish_reason == "stop"
            judged = verifier.judge_one(completion.text, row["gold"]) if finished else None
            verdicts.append(
                {
                    "problem_id": row["problem_id"],
                    "sample": number,
                    "verdict": judged.verdict.value if judged else "unparsable",
                    "extracted": judged.extracted if judged else None,
                    "rule": judged.rule if judged else "cut-off",
                    "verifier": "test",
                }
            )
    return made, answers, verdicts
