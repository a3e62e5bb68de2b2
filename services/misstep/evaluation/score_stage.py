"""The score stage: computes one row of outcomes per problem and the accuracies from verified samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from misstep.artifacts.output import Output
from misstep.artifacts.records import OUTCOMES
from misstep.errors import MisstepError
from misstep.evaluation.scores import VERDICTS, Tally, mean_estimate, pass_curve
from misstep.plan.params import ScoreParams
from misstep.stages.context import OneBlock, StageContext, Work
from misstep.terms.verdict import Verdict

_ROWS = 4096


class _Score(OneBlock):
    """One block, because all votes of a problem are needed together, and a table of counts is small."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, ScoreParams)
        self._ctx = ctx
        self._pass_at = ctx.params.pass_at

    def run(self, block: int) -> Output:
        """Score all samples. Raises MisstepError if samples and verdicts do not match."""
        assert block == 0
        tallies = self._tally()
        sampled, cut_off = self._count_samples()
        if {problem: tally.samples for problem, tally in tallies.items()} != sampled:
            raise MisstepError("score: the verdicts are not those of the samples; run the verify stage again")
        order = self._in_problem_order(tallies)
        summary = _summary(order, cut_off, self._pass_at)
        prompt = self._ctx.manifest_summary("samples").get("prompt")
        if prompt is not None:
            summary["prompt"] = prompt
        return Output(tables={"outcomes": _outcomes(order)}, summary=summary)

    def _tally(self) -> dict[str, Tally]:
        tallies: dict[str, Tally] = {}
        total = self._ctx.rows_in("verdicts", "verdicts")
        done = 0
        for batch in self._ctx.batches("verdicts", "verdicts", ["problem_id", "verdict", "extracted"]):
            columns = (batch.column(name).to_pylist() for name in ("problem_id", "verdict", "extracted"))
            for problem, verdict, extracted in zip(*columns, strict=True):
                tallies.setdefault(problem, Tally()).add(Verdict(verdict), extracted)
            done += batch.num_rows
            self._ctx.progress.update(done, total, "samples")
        return tallies

    def _count_samples(self) -> tuple[dict[str, int], int]:
        """Return the number of samples by problem, and how many of all were cut off at the token limit."""
        counts: dict[str, int] = {}
        cut_off = 0
        for batch in self._ctx.batches("samples", "samples", ["problem_id", "finish_reason"]):
            for problem in batch.column("problem_id").to_pylist():
                counts[problem] = counts.get(problem, 0) + 1
            cut_off += sum(reason == "length" for reason in batch.column("finish_reason").to_pylist())
        return counts, cut_off

    def _in_problem_order(self, tallies: dict[str, Tally]) -> dict[str, Tally]:
        ordered: dict[str, Tally] = {}
        for batch in self._ctx.batches("problems", "problems", ["problem_id"]):
            for problem in batch.column("problem_id").to_pylist():
                if problem in tallies:
                    ordered[problem] = tallies[problem]
        if len(ordered) != len(tallies):
            missing = min(tallies.keys() - ordered.keys())
            raise MisstepError(f"score: sampled problem {missing!r} is not among the problems of this stage")
        return ordered


def open_work(ctx: StageContext) -> Work:
    """Open the score stage (inputs ``problems``, ``samples``, ``verdicts``)."""
    return _Score(ctx)


def _outcomes(tallies: dict[str, Tally]) -> Iterator[pa.RecordBatch]:
    """Stream the outcomes; at least one (perhaps empty) batch, so that the table always exists."""
    items = list(tallies.items())
    for start in range(0, max(1, len(items)), _ROWS):
        rows = [
            {
                "problem_id": problem,
                "samples": tally.samples,
                **tally.counts,
                "majority_answer": answer,
                "majority_correct": chance,
            }
            for problem, tally in items[start : start + _ROWS]
            for answer, chance in [tally.majority()]
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=OUTCOMES)


def _summary(tallies: dict[str, Tally], cut_off: int, pass_at: tuple[int, ...]) -> dict[str, Any]:
    """Return counts, pass@k and maj@n with intervals, and a note if one of them is missing."""
    counts = {verdict.value: sum(t.counts[verdict] for t in tallies.values()) for verdict in VERDICTS}
    samples = [t.samples for t in tallies.values()]
    total = sum(samples)
    summary: dict[str, Any] = {
        "problems": len(tallies),
        "samples": total,
        "fewest_samples": min(samples, default=0),
        "verdicts": counts,
        "cut_off": cut_off,
        "cut_off_share": round(cut_off / total, 6) if total else 0.0,
        "pass_at": {},
        "maj_at": {},
        "notes": [],
    }
    if not total:
        summary["notes"] = ["There are no samples, so there is no accuracy."]
        return summary
    correct = [t.counts[Verdict.CORRECT] for t in tallies.values()]
    summary["pass_at"] = {str(k): _rounded(e) for k, e in pass_curve(samples, correct, pass_at).items()}
    summary["notes"] = [
        f"pass@{k} needs {k} samples of every problem; the fewest are {min(samples)}."
        for k in sorted(set(pass_at))
        if k > min(samples)
    ]
    if min(samples) == max(samples):
        votes = np.array([[t.majority()[1] for t in tallies.values()]])
        summary["maj_at"] = {str(samples[0]): _rounded(mean_estimate(votes, len(samples)))}
    else:
        summary["notes"].append("Problems differ in their number of samples, so there is no majority vote of n.")
    return summary


def _rounded(estimate: object) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(estimate).items()}  # type: ignore[call-overload]
