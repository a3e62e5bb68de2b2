"""Read what the credit page shows from the finished credit stages of an experiment, and from their inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from misstep.audit.choose import Chosen, Name, Sampler
from misstep.audit.credit_view import Continuation, KnownResponse, Solution, solution
from misstep.audit.only import Only
from misstep.audit.tables import Tables
from misstep.credit.refuted import row_refuted, whole_rollouts
from misstep.plan.frozen import FrozenStage

CORRECT_SHARE = 5
"""One correct solution is shown for so many wrong ones."""
_ROLLOUT = ["problem_id", "prefix_id", "token_ids", "text", "verdict", "finish_reason"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which credited solutions to show."""

    count: int
    only: Only | None = None
    problems: frozenset[str] = frozenset()
    """Empty: of all problems."""


@dataclass(frozen=True, slots=True)
class CreditStage:
    """One credit stage, and its solutions on the page."""

    name: str
    estimator: str
    best_of: int
    target_error: float | None
    summary: Mapping[str, Any]
    seen: int
    """Wrong solutions that are wanted."""
    wrong: tuple[Solution, ...]
    lucky: tuple[Solution, ...]
    """Correct solutions with a step that luck saved."""


def read_credit(tables: Tables, stages: Sequence[FrozenStage], wanted: Wanted) -> list[CreditStage]:
    """Choose wrong solutions over all stages, and some correct ones where these were credited too."""
    wrong, lucky = Sampler[str](wanted.count), Sampler[str](-(-wanted.count // CORRECT_SHARE))
    for stage in stages:
        _offer_wrong(tables, stage, wanted, wrong)
        if wanted.only is None and tables.has(stage.key, "positives"):
            _offer_lucky(tables, stage, wanted, lucky)
    chosen, saved = wrong.chosen(), lucky.chosen()
    return [_stage(tables, stage, chosen, saved) for stage in stages]


def _offer_wrong(tables: Tables, stage: FrozenStage, wanted: Wanted, to: Sampler[str]) -> None:
    names = ["problem_id", "sample", "pit", "true_pit", "certainty"]
    error, only = stage.params.get("target_error"), wanted.only
    for rows in tables.columns(stage.key, "negatives", names, stage.name):
        for problem, sample, pit, true_pit, certainty in rows:
            if wanted.problems and problem not in wanted.problems:
                continue
            if only is None or only.wants(pit, true_pit, certainty, error):
                to.offer(stage.key, stage.key, problem, sample)


def _offer_lucky(tables: Tables, stage: FrozenStage, wanted: Wanted, to: Sampler[str]) -> None:
    """Offer the correct solutions with a lucky step that no other correct response refutes."""
    saved = {
        problem
        for rows in tables.columns(stage.key, "positives", ["problem_id", "pit"], stage.name)
        for problem, pit in rows
        if pit is not None and (not wanted.problems or problem in wanted.problems)
    }
    if not saved:
        return
    names = ["problem_id", "sample", "token_ids", "step_ends", "prefix_ids", "pit"]
    credited = list(tables.rows(stage.key, "positives", names, saved, stage.name))
    names = ["problem_id", "prefix_id", "token_ids", "verdict", "finish_reason"]
    drawn = whole_rollouts(credited, tables.rows(stage.key, "positive_rollouts", names, saved, stage.name))
    samples = _samples(tables, stage, saved)
    for row in credited:
        problem = row["problem_id"]
        if row["pit"] is not None:
            correct = (one.token_ids for one in samples[problem] if one.continuation.solved)
            if not row_refuted(row, correct, drawn):
                to.offer(stage.key, stage.key, problem, row["sample"])


def _stage(tables: Tables, stage: FrozenStage, wrong: Chosen[str], lucky: Chosen[str]) -> CreditStage:
    chosen, saved = wrong.of_stage(stage.key), lucky.of_stage(stage.key)
    questions = tables.questions(stage, {name.problem_id for name in chosen | saved}) if chosen | saved else {}
    by_path = stage.params["estimator"] == "adaptive"
    return CreditStage(
        name=stage.name,
        estimator=stage.params["estimator"],
        best_of=stage.params["best_of"],
        target_error=stage.params.get("target_error") if by_path else None,
        summary=tables.summary(stage.key),
        seen=wrong.seen.get(stage.key, 0),
        wrong=_solutions(tables, stage, "negatives", "rollouts", chosen, questions, by_path),
        lucky=_solutions(tables, stage, "positives", "positive_rollouts", saved, questions, False),
    )


def _solutions(
    tables: Tables,
    stage: FrozenStage,
    table: str,
    rollouts: str,
    chosen: Collection[Name],
    questions: Mapping[str, tuple[str, str]],
    by_path: bool,
) -> tuple[Solution, ...]:
    """Return the views of the chosen rows of a table: first those with a pit, each by problem and sample."""
    if not chosen:
        return ()
    problems = {name.problem_id for name in chosen}
    names = ["problem_id", "sample", "token_ids", "step_ends", "step_texts", "prefix_ids", "q", "alive"]
    names += ["certainty", "solved", "failed", "pit", "reason", "true_pit"]
    rows = list(tables.rows(stage.key, table, names, problems, stage.name))
    scans = _scans(tables, stage, problems) if table == "negatives" else {}
    known = _samples(tables, stage, problems)
    for row in tables.rows(stage.key, rollouts, _ROLLOUT, problems, stage.name):
        known[row["problem_id"]].append(_rollout(row))
    if by_path:
        _complete(known, rows)
    views = [
        solution(
            row,
            questions[row["problem_id"]],
            known[row["problem_id"]],
            by_path,
            table == "positives",
            scans.get((row["problem_id"], row["sample"]), ()),
        )
        for row in rows
        if Name(stage.key, row["problem_id"], row["sample"]) in chosen
    ]
    return tuple(sorted(views, key=lambda view: (view.pit is None, view.problem_id, view.sample)))


def _scans(
    tables: Tables, stage: FrozenStage, problems: Collection[str]
) -> dict[tuple[str, int], tuple[int | None, ...]]:
    """Return the pits of the audit's scans, by problem and sample. Where credit is itself a full scan, it is one of the
    two, and the audit has the other."""
    if not tables.has(stage.key, "audits"):
        return {}
    columns = ["scan_pit"] if stage.params["estimator"] == "full-scan" else ["scan_pit", "rescan_pit"]
    rows = tables.rows(stage.key, "audits", ["problem_id", "sample", *columns], problems, stage.name)
    return {(row["problem_id"], row["sample"]): tuple(row[column] for column in columns) for row in rows}


def _samples(tables: Tables, stage: FrozenStage, problems: Collection[str]) -> dict[str, list[KnownResponse]]:
    """Return the samples of some problems as known continuations of the bare problem."""
    judged = tables.rows(
        stage.inputs["verdicts"], "verdicts", ["problem_id", "sample", "verdict"], problems, "verdicts of samples"
    )
    verdicts = {(row["problem_id"], row["sample"]): row["verdict"] for row in judged}
    names = ["problem_id", "sample", "token_ids", "text", "finish_reason"]
    found = tables.by_problem(stage.inputs["samples"], "samples", names, problems, "samples")
    return {
        problem: [
            KnownResponse(
                Continuation(
                    text=row["text"],
                    verdict=verdicts.get((problem, row["sample"]), "unparsable"),
                    cut_off=row["finish_reason"] != "stop",
                    begun=0,
                    sample=True,
                ),
                prefix_id=None,
                token_ids=tuple(row["token_ids"]),
                number=row["sample"],
            )
            for row in rows
        ]
        for problem, rows in found.items()
    }


def _rollout(row: Mapping[str, Any]) -> KnownResponse:
    """Return a rollout as a known continuation, without its prefix."""
    return KnownResponse(
        Continuation(
            text=row["text"],
            verdict=row["verdict"],
            cut_off=row["finish_reason"] != "stop",
            begun=None,
            sample=False,
        ),
        prefix_id=row["prefix_id"],
        token_ids=tuple(row["token_ids"]),
        number=-1,
    )


def _complete(known: Mapping[str, list[KnownResponse]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the prefixes before the rollouts: each is a prefix of one of the problem's credited solutions."""
    prefixes: dict[str, tuple[int, tuple[int, ...], str]] = {}
    for row in rows:
        for steps, (name, end) in enumerate(zip(row["prefix_ids"], (0, *row["step_ends"]), strict=True)):
            prefixes[name] = steps, tuple(row["token_ids"][:end]), "".join(row["step_texts"][:steps])
    for drawn in known.values():
        for place, one in enumerate(drawn):
            if one.prefix_id is not None:
                steps, ids, text = prefixes[one.prefix_id]
                whole = replace(one.continuation, text=text + one.continuation.text, begun=steps)
                drawn[place] = replace(one, continuation=whole, token_ids=ids + one.token_ids)
