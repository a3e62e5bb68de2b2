"""From the stages of a plan to the runs that trackers show. Pure.

The experiment has a run, and so has every training. What other stages found out belongs to the training whose model
they used: verdicts, pits, tokens and test scores stand beside its losses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from misstep.artifacts.live_log import TrainingRows
from misstep.evaluation.results import Results
from misstep.evaluation.results_table import SummaryRow, summary_rows
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import KINDS, StageKind
from misstep.plan.planner import Plan
from misstep.tracking.runs import Param, Row, Run, Table

_DIGITS = 8
_HOW = ("cluster", "suspend", "tracking")
"""Fields that say how an experiment is run or shown, and have dozens of defaults. ``experiment.yaml`` has them."""


@dataclass(frozen=True)
class Seen:
    """What is known of a plan's stages at one moment."""

    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Key -> the summary of the manifest, for committed stages."""
    training: Mapping[str, TrainingRows] = field(default_factory=dict)
    """Key -> the log of a training: as committed, or so far."""
    results: Results | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    """The experiment's files, by name: ``experiment.yaml``, and those of the report once it is there."""


def runs_of(plan: Plan, resolved: Mapping[str, Any], seen: Seen) -> list[Run]:
    """Return the experiment's run, then one for each training that has begun.

    Args:
        resolved: the Experiment with all defaults, as in YAML.
    """
    parent = parent_id(plan)
    owners = owners_of(plan)
    owned: dict[str, list[FrozenStage]] = {}
    for stage in plan.stages:
        if stage.key in owners:
            owned.setdefault(owners[stage.key], []).append(stage)
    runs = [_experiment(plan, parent, resolved, seen)]
    points = _points(plan)
    judged = {stage.key for stage in plan.stages if stage.kind is StageKind.SAMPLE and "model" in stage.inputs}
    for stage in plan.stages:
        stages = owned.get(stage.key, [])
        begun = stage.key in seen.training or any(one.key in seen.summaries for one in stages)
        if not KINDS[stage.kind].trains or not begun:
            continue
        facts: dict[str, float | None] = {}
        for one in stages:
            tested = "model" in one.inputs or one.inputs.get("samples") in judged
            facts |= _facts(one, seen.summaries.get(one.key, {}), tested)
        runs.append(
            Run(
                id=f"{parent}-{_hash(stage.key)}",
                name=stage.name,
                group=parent,
                job=stage.kind.value,
                params={**points.get(stage.key, {}), "stage": stage.key, **flat(stage.params)},
                rows=tuple(_rows(seen.training.get(stage.key, TrainingRows()))),
                facts=_finite(facts),
                finished=all(one.key in seen.summaries for one in stages),
            )
        )
    return runs


def parent_id(plan: Plan) -> str:
    """Return the id of the experiment's run: another one where a stage has another key."""
    return f"{plan.experiment}-{_hash(plan.experiment + ''.join(sorted(stage.key for stage in plan.stages)))}"


def owners_of(plan: Plan) -> dict[str, str]:
    """Return key -> the key of the training whose run shows what the stage found; trainings own themselves."""
    trainings = {stage.key for stage in plan.stages if KINDS[stage.kind].trains}
    users = {stage.inputs["pairs"]: stage.key for stage in plan.stages if "pairs" in stage.inputs}
    owners: dict[str, str] = {key: key for key in trainings}
    for stage in plan.stages:  # each after its inputs
        if stage.key in trainings or stage.kind is StageKind.REPORT:
            continue
        if stage.kind is StageKind.PAIRS:
            owner = users.get(stage.key)
        else:
            owner = stage.inputs.get("policy") or stage.inputs.get("model")
            owner = owner or owners.get(stage.inputs.get("samples", ""))
        if owner in trainings:
            owners[stage.key] = owner
    return owners


def flat(value: Any, prefix: str = "") -> dict[str, Param]:
    """Return nested data as dotted names and plain values: ``training.sft.epochs``. What is empty or null is left
    out."""
    if isinstance(value, Mapping):
        items = [(str(name), one) for name, one in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        items = [(str(index), one) for index, one in enumerate(value)]
    elif isinstance(value, list | tuple):
        return {prefix: ", ".join(map(str, value))} if value else {}
    else:
        return {} if value is None else {prefix: value}
    found: dict[str, Param] = {}
    for name, one in items:
        found |= flat(one, f"{prefix}.{name}" if prefix else name)
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _points(plan: Plan) -> dict[str, dict[str, Param]]:
    """Return key of a model -> its place in the grid, from the report's parameters."""
    found: dict[str, dict[str, Param]] = {}
    for index, point in enumerate(plan.report.params.get("grid", ())):
        key = plan.report.inputs.get(f"model_{index}")
        if key is not None:
            found[key] = flat(point)
    return found


def _experiment(plan: Plan, parent: str, resolved: Mapping[str, Any], seen: Seen) -> Run:
    facts: dict[str, float] = {}
    table = None
    if seen.results is not None:
        for cell in seen.results.cells:
            name = f"results/{cell.arm}-d{cell.size}"
            for k, estimate in cell.pass_at.items():
                facts |= {f"{name}/pass_at_{k}": estimate.value}
            accuracy, worth = cell.accuracy, cell.worth.interpolated
            facts |= {f"{name}/pass_at_1_low": accuracy.low, f"{name}/pass_at_1_high": accuracy.high}
            if worth.factor is not None and worth.relation == "=":
                facts[f"{name}/worth"] = worth.factor
        table = Table(SummaryRow._fields, tuple(tuple(row) for row in summary_rows(seen.results)))
    finished = all(stage.key in seen.summaries for stage in plan.stages) and seen.results is not None
    if finished:  # sums: known only when all are there
        generated = [float(summary.get("generated_tokens", 0)) for summary in seen.summaries.values()]
        facts["tokens/generated"] = sum(generated)
        facts["tokens/trained"] = sum(
            float(seen.summaries[stage.key].get("tokens", 0)) for stage in plan.stages if KINDS[stage.kind].trains
        )
    return Run(
        id=parent,
        name=plan.experiment,
        group=parent,
        job="experiment",
        params=flat({"spec": {name: value for name, value in resolved["spec"].items() if name not in _HOW}}),
        facts=_finite(facts),
        table=table,
        files=seen.files,
        finished=finished,
    )


def _rows(training: TrainingRows) -> Iterator[Row]:
    by_step: dict[int, dict[str, float | None]] = {}
    for row in training.log:
        by_step.setdefault(row.step, {}).update(
            {
                "train/loss": row.loss,
                "train/learning_rate": row.learning_rate,
                "train/epoch": row.epoch,
                "train/grad_norm": row.grad_norm,
                "train/rewards_accuracy": row.rewards_accuracy,
                "train/rewards_margin": row.rewards_margin,
            }
        )
    for score in training.selection:
        values = by_step.setdefault(score.step, {})
        if score.problems:
            values["validation/accuracy"] = score.correct / score.problems
        if score.train_problems:
            values["validation/train_accuracy"] = score.train_correct / score.train_problems
    for step, values in sorted(by_step.items()):
        finite = _finite(values)
        if step > 0 and finite:
            yield Row(step, finite)


def _facts(stage: FrozenStage, summary: Mapping[str, Any], tested: bool) -> dict[str, float | None]:
    """Return the figures of one stage; none of a stage that is not committed.

    Args:
        tested: whether it is about answers to the test problems, not about the policy's samples for training.
    """
    if not summary:
        return {}
    where = "test" if tested else "policy"
    match stage.kind:
        case StageKind.SAMPLE:
            return {f"{where}/{name}": summary.get(name) for name in ("samples", "generated_tokens", "prompt_tokens")}
        case StageKind.VERIFY:
            return {
                f"{where}/{name}_share": count / summary["samples"]
                for name, count in summary["verdicts"].items()
                if summary["samples"]
            } | {f"{where}/cut_off": summary.get("cut_off")}
        case StageKind.CREDIT:
            counted = ("negatives", "pits", "prefixes", "rollouts", "generated_tokens", "prompt_tokens")
            found = {f"credit/{name}": summary.get(name) for name in counted}
            if summary.get("negatives"):
                found["credit/pit_share"] = summary.get("pits", 0) / summary["negatives"]
            return found
        case StageKind.PAIRS:
            return {f"pairs/{name}": summary.get(name) for name in ("pairs", "candidates", "problems_with_pairs")}
        case StageKind.SCORE:
            return {
                f"test/{name}_at_{k}": estimate["value"]
                for name in ("pass", "maj")
                for k, estimate in summary.get(f"{name}_at", {}).items()
            }
        case _:
            return {f"train/{name}": summary.get(name) for name in ("rows", "tokens", "steps", "best_epoch")}


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
