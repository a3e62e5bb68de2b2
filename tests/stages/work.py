"""Real stages' work for the shell's tests: it counts, reads inputs, trains with checkpoints, and fails as told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from misstep.artifacts.output import Output
from misstep.artifacts.records import OUTCOMES, VERDICTS
from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from misstep.stages.context import StageContext, Work
from tests.artifacts.making import sample_rows

REGISTRY: Mapping[StageKind, str] = {
    StageKind.SAMPLE: "tests.stages.work:open_samples",
    StageKind.VERIFY: "tests.stages.work:open_verify",
    StageKind.SCORE: "tests.stages.work:open_score",
    StageKind.DPO: "tests.stages.work:open_training",
}


def _note(event: str) -> None:
    """Append to the file that the test watches."""
    with Path(os.environ["WORK_NOTES"]).open("a") as file:
        file.write(event + "\n")


class _Base:
    def __init__(self, ctx: StageContext) -> None:
        self.ctx = ctx
        _note(f"open {ctx.stage.kind}")

    def close(self) -> None:
        _note(f"close {self.ctx.stage.kind}")


class _Samples(_Base):
    """Blocks of ``samples`` rows; ``WORK_FAIL`` names a block and how it fails."""

    def blocks(self) -> int:
        return int(self.ctx.params.limit or 0)  # type: ignore[attr-defined]

    def run(self, block: int) -> Output:
        _note(f"block {block}")
        how = os.environ.get("WORK_FAIL", "").split(":")
        if how[0] == str(block):
            _fail(how[1])
        rows = int(self.ctx.params.samples)  # type: ignore[attr-defined]
        for done in range(rows):
            self.ctx.progress.update(done + 1, rows, "samples")

        def batches() -> Iterator[pa.RecordBatch]:
            time.sleep(float(os.environ.get("WORK_SECONDS", "0")))
            yield from sample_rows(1000 * block, rows).to_batches()

        return Output(tables={"samples": batches()}, summary={"samples": rows, "unit": "rows"})


def _fail(how: str) -> None:
    if how == "bad-input":
        raise BadInput("spec.problems", "nothing", "Give some.")
    if how == "error":
        raise ZeroDivisionError("a stage's\nown bug")
    if how == "disk":
        raise OSError(28, "No space left on device", "/scratch/x")
    if how == "hang":
        time.sleep(600)
    os._exit(9)


class _Verify(_Base):
    def blocks(self) -> int:
        return self.ctx.parts_in("samples", "samples")

    def run(self, block: int) -> Output:
        rows = [
            {"problem_id": problem, "sample": sample, "verdict": "correct", "rule": "r", "verifier": "v"}
            for batch in self.ctx.batches("samples", "samples", ["sample", "problem_id"], part=block)
            for sample, problem in zip(*batch.to_pydict().values(), strict=True)
        ]
        return Output({"verdicts": pa.Table.from_pylist(rows, schema=VERDICTS)}, summary={"verdicts": len(rows)})


class _Score(_Base):
    def blocks(self) -> int:
        return 1

    def run(self, block: int) -> Output:
        assert self.ctx.rows_in("verdicts", "verdicts") == self.ctx.rows_in("samples", "samples")
        summary = {"samples": self.ctx.manifest_summary("samples")["samples"], "threads": self.ctx.threads}
        summary["omp"] = os.environ["OMP_NUM_THREADS"]
        return Output({"outcomes": OUTCOMES.empty_table()}, summary=summary)


class _Training(_Base):
    """Ten steps, a checkpoint after each second one; killed after step ``WORK_KILL``."""

    def blocks(self) -> int:
        return 1

    def run(self, block: int) -> Output:
        found = self.ctx.checkpoints.newest()
        step, losses = 0, []
        if found is not None:
            step, folder = found
            losses = json.loads((folder / "losses.json").read_text())
            _note(f"resume {step}")
        while step < 10:
            step += 1
            losses.append(1 / step)
            if step % 2 == 0:
                folder = self.ctx.scratch / "new"
                folder.mkdir(exist_ok=True)
                (folder / "losses.json").write_text(json.dumps(losses))
                self.ctx.checkpoints.save(step, folder)
            if str(step) == os.environ.get("WORK_KILL"):
                os._exit(9)
        model = self.ctx.scratch / "model.safetensors"
        model.write_text(json.dumps(losses))
        start = (self.ctx.model_folder() / "model.safetensors").read_bytes()
        return Output(files={"model/model.safetensors": model}, summary={"start_bytes": len(start)})


def open_samples(ctx: StageContext) -> Work:
    return _Samples(ctx)


def open_verify(ctx: StageContext) -> Work:
    return _Verify(ctx)


def open_score(ctx: StageContext) -> Work:
    return _Score(ctx)


def open_training(ctx: StageContext) -> Work:
    return _Training(ctx)
