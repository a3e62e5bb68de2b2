"""Read a report's inputs from the artifacts of a grid: outcomes, training, credit, pairs, samples, problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from misstep.artifacts.output import Summary
from misstep.errors import MisstepError
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.results import (
    Answers,
    Audit,
    Credit,
    PairYield,
    PolicyScores,
    Problems,
    PromptRecord,
    Sampled,
    Teacher,
    Training,
    TrueErrors,
)
from misstep.evaluation.scores import VERDICTS, wilson
from misstep.evaluation.student import Floats
from misstep.plan.params import GridPoint
from misstep.stages.context import StageContext
from misstep.terms.first_error import harmonic_mean


@dataclass(frozen=True)
class PointOutcomes:
    """One grid point's outcomes by problem, in the order of problem ids; shapes are (problems,)."""

    point: GridPoint
    samples: Floats
    correct: Floats
    majority: Floats
    answers: Answers
    pass_at: tuple[int, ...]
    maj_at: tuple[int, ...]
    notes: tuple[str, ...]
    training: Training
    pairs: PairYield | None


@dataclass(frozen=True)
class Gathered:
    """All inputs of a report except the examples."""

    outcomes: list[PointOutcomes]
    """The outcomes of the grid points that have test samples."""
    unsampled: list[GridPoint]
    sampled: list[Sampled]
    credit: list[Credit]
    problems: Problems
    prompt: PromptRecord | None


def gather(ctx: StageContext, grid: tuple[GridPoint, ...]) -> Gathered:
    """Read everything. Raises MisstepError if grid points were not tested on the same problems."""
    outcomes: list[PointOutcomes] = []
    unsampled: list[GridPoint] = []
    problems: list[str] | None = None
    for index, point in enumerate(grid):
        ctx.progress.update(index, len(grid), "grid points")
        found = _outcomes(ctx, index, point)
        if found is None:
            unsampled.append(point)
            continue
        ids, outcome = found
        if problems is not None and ids != problems:
            raise MisstepError(f"report: {point.arm} at {point.size} was tested on other problems than the rest")
        problems = ids
        outcomes.append(outcome)
    return Gathered(
        outcomes=outcomes,
        unsampled=unsampled,
        sampled=[_sampled(ctx, role, point) for role, point in distinct(ctx, grid, "verdicts")],
        credit=[_credit(ctx, role, point) for role, point in distinct(ctx, grid, "credit")],
        problems=_problems(ctx),
        prompt=_prompt(ctx, len(grid)),
    )


def distinct(ctx: StageContext, grid: tuple[GridPoint, ...], name: str) -> Iterator[tuple[str, GridPoint]]:
    """Yield each artifact of a kind once, with the first grid point that uses it: by size and seed, then in the order
    of the grid."""
    found: dict[str, tuple[str, GridPoint]] = {}
    for index, point in enumerate(grid):
        role = f"{name}_{index}"
        if ctx.has(role):
            found.setdefault(ctx.stage.inputs[role], (role, point))
    yield from sorted(found.values(), key=lambda item: (item[1].size, item[1].seed))


def _prompt(ctx: StageContext, points: int) -> PromptRecord | None:
    """The prompt of the test samples, which an experiment's arms share."""
    found = (ctx.manifest_summary(f"score_{index}").get("prompt") for index in range(points))
    return next((PromptRecord(**prompt) for prompt in found if prompt is not None), None)


def _outcomes(ctx: StageContext, index: int, point: GridPoint) -> tuple[list[str], PointOutcomes] | None:
    role = f"score_{index}"
    table = ctx.read(role, "outcomes").sort_by("problem_id")
    if table.num_rows == 0:
        return None
    summary = ctx.manifest_summary(role)
    column: dict[str, Floats] = {
        name: table.column(name).to_numpy().astype(np.float64) for name in ("samples", *VERDICTS, "majority_correct")
    }
    outcome = PointOutcomes(
        point=point,
        samples=column["samples"],
        correct=column["correct"],
        majority=column["majority_correct"],
        answers=_answers({v: int(column[v].sum()) for v in VERDICTS}, int(column["samples"].sum()), summary["cut_off"]),
        pass_at=tuple(sorted(int(k) for k in summary["pass_at"])),
        maj_at=tuple(sorted(int(k) for k in summary["maj_at"])),
        notes=tuple(summary["notes"]),
        training=_training(ctx, f"model_{index}"),
        pairs=_pairs(ctx, f"pairs_{index}") if ctx.has(f"pairs_{index}") else None,
    )
    return table.column("problem_id").to_pylist(), outcome


def _answers(counts: Mapping[str, int], samples: int, cut_off: int) -> Answers:
    by_verdict = {verdict.value: counts.get(verdict, 0) for verdict in VERDICTS}
    return Answers(samples=samples, cut_off=cut_off, **by_verdict)


def _sampled(ctx: StageContext, role: str, point: GridPoint) -> Sampled:
    """``verify``'s summary: ``samples``, ``cut_off``, and ``verdicts`` with the counts that are not zero."""
    summary = ctx.manifest_summary(role)
    answers = _answers(summary.get("verdicts", {}), summary.get("samples", 0), summary.get("cut_off", 0))
    policy = f"policy_{role.rpartition('_')[2]}"
    scores = ctx.manifest_summary(policy).get("policy") if ctx.has(policy) else None
    return Sampled(
        size=point.size,
        seed=point.seed,
        from_arm=point.from_arm,
        answers=answers,
        scores=None if scores is None else PolicyScores(**{name: scores[name] for name in PolicyScores.model_fields}),
    )


def _credit(ctx: StageContext, role: str, point: GridPoint) -> Credit:
    """``credit``'s summary; ``pit_percent`` has the end of each tenth of a response: ``010`` to ``100``."""
    summary = ctx.manifest_summary(role)
    return Credit(
        size=point.size,
        seed=point.seed,
        from_arm=point.from_arm,
        outcome=summary["outcome"],
        estimator=summary["estimator"],
        pit_steps={int(step): count for step, count in summary["pit_step"].items()},
        pit_tenths={int(end) // 10: count for end, count in summary["pit_percent"].items()},
        **{
            name: summary[name]
            for name in (
                "negatives",
                "pits",
                "no_pit",
                "not_chosen",
                "prefixes",
                "prefixes_unshared",
                "rollouts",
                "rollout_verdicts",
                "generated_tokens",
            )
        },
        # Credit artifacts of earlier versions lack these counts.
        **{name: summary.get(name, 0) for name in ("prefill_tokens", "cached_prefill_tokens", "rollouts_unneeded")},
        expected_false=_expected_false(summary),
        audit=_audit(summary),
        true_errors=_true_errors(summary),
        positives=summary.get("positives", {}).get("responses", 0),
        lucky=summary.get("positives", {}).get("lucky", 0),
    )


def _expected_false(summary: Summary) -> float | None:
    if summary["estimator"] != "adaptive" or not summary["pits"]:
        return None
    expected: float = summary["doubt_millionths"] / 1e6
    return expected / int(summary["pits"])


def _audit(summary: Summary) -> Audit | None:
    """Compare the pits, and credit's tokens with what a scan of all prefixes of all negatives would cost: the mean cost
    of an audited prefix times their number."""
    found = summary.get("audit", {})
    negatives = found.get("negatives", 0)
    if not negatives:
        return None
    scan = (
        found["scan_tokens"] / found["scan_prefixes"] * summary["scannable_prefixes"] if found["scan_prefixes"] else 0
    )
    return Audit(
        negatives=negatives,
        agreement=_of(found["same_pit"], negatives),
        scans_agreement=_of(found["scans_same_pit"], negatives),
        cost=summary["generated_tokens"] / scan if scan else None,
    )


def _true_errors(summary: Summary) -> TrueErrors | None:
    places = summary.get("true_errors", {})
    wrong = sum(places.values())
    if not wrong:
        return None
    positives = summary["positives"]
    right = positives["responses"]
    on_wrong = _of(places["exact"], wrong)
    on_right = _of(right - positives["lucky"], right) if right else None
    return TrueErrors(
        wrong=wrong,
        places=dict(places),
        wrong_accuracy=on_wrong,
        right=right,
        right_accuracy=on_right,
        f1=harmonic_mean(on_wrong.value, on_right.value if on_right else None),
    )


def _of(count: int, total: int) -> Estimate:
    return Estimate(count / total, *wilson(count / total, total))


def _pairs(ctx: StageContext, role: str) -> PairYield:
    summary = ctx.manifest_summary(role)
    return PairYield(
        pairs=summary["pairs"],
        candidates=summary["candidates"],
        problems=summary["problems_with_pairs"],
        sources=dict(summary["chosen_source"]),
        dropped=dict(summary["dropped"]),
        cut_at_pit=summary.get("cut_at_pit"),
        no_other_cut=summary.get("no_other_cut"),
        agreement=dict(summary.get("agreement", {})),
    )


def _training(ctx: StageContext, role: str) -> Training:
    """Read the log and the scorings; the summary says whether there was anything to train on."""
    summary = ctx.manifest_summary(role)
    log = ctx.read(role, "log", ["step", "epoch", "loss"]).to_pylist()
    scored = ctx.read(role, "selection").to_pylist()
    chosen = next((row for row in scored if row["chosen"]), None)
    policy = next((row for row in scored if row["policy"]), None)
    steps = log[-1]["step"] if log else 0
    return Training(
        trained=summary["trained"],
        reason=summary.get("reason"),
        rows=summary.get("rows"),
        rows_dropped=summary.get("rows_dropped", 0),
        dropped=dict(summary.get("dropped", {})),
        steps=steps,
        kept_steps=chosen["step"] if chosen else steps,
        epochs=log[-1]["epoch"] if log else None,
        scored_epochs=tuple(row["epoch"] for row in scored),
        best_epoch=chosen["epoch"] if chosen else None,
        validation=_share(chosen, "") if chosen else None,
        policy_epoch=policy["epoch"] if policy else None,
        policy_validation=_share(policy, "") if policy else None,
        policy_train=_share(policy, "train_") if policy else None,
        first_loss=log[0]["loss"] if log else None,
        last_loss=log[-1]["loss"] if log else None,
    )


def _share(row: Mapping[str, Any], split: str) -> Estimate | None:
    problems = row[f"{split}problems"]
    if not problems:
        return None
    return _of(row[f"{split}correct"], problems)


def _problems(ctx: StageContext) -> Problems:
    summary = ctx.manifest_summary("problems")
    return Problems(
        counts=dict(summary["problems"]),
        duplicates=dict(summary["duplicates"]),
        bad_gold=dict(summary["bad_gold"]),
        bad_gold_examples=tuple(summary["bad_gold_examples"]),
        test_problems_in_training=summary["test_problems_in_training"],
        left_out_of_training=summary["left_out_of_training"],
        teacher_solutions=dict(summary["teacher_solutions"]),
        teacher=_teacher(summary["teacher"]) if "teacher" in summary else None,
        # Problems artifacts of earlier versions lack these counts.
        **{name: dict(summary.get(name, {})) for name in ("rows", "no_question", "duplicates_with_another_answer")},
        **{name: dict(summary.get(name, {})) for name in ("bad_gold_reasons", "remarks")},
        without_solution=summary.get("without_solution", 0),
    )


def _teacher(summary: Mapping[str, Any]) -> Teacher:
    return Teacher(**{name: summary[name] for name in Teacher.model_fields})
