"""Read what the page of verdicts shows from the finished verify stages of an experiment, and from their inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from misstep.audit.choose import Chosen, Name, Sampler
from misstep.audit.tables import Tables
from misstep.plan.frozen import FrozenStage
from misstep.terms.verdict import Verdict

Reason = tuple[str, str]
"""A verdict, and the rule that decided."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One sample with its verdict."""

    stage: str
    problem_id: str
    sample: int
    question: str
    gold: str
    text: str
    cut_off: bool
    extracted: str | None
    """The answer that was read in the text."""
    verdict: str
    rule: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Group:
    """The samples with one verdict by one rule."""

    verdict: str
    rule: str
    seen: int
    judged: tuple[Judged, ...]
    """Those on the page."""


def read_verdicts(
    tables: Tables, stages: Sequence[FrozenStage], count: int, problems: Collection[str] = ()
) -> list[Group]:
    """Choose samples over all stages, spread over verdicts and rules.

    Args:
        problems: only of these problems; empty means of all.
    """
    sampler = Sampler[Reason](count)
    for stage in stages:
        for rows in tables.columns(stage.key, "verdicts", ["problem_id", "sample", "verdict", "rule"], stage.name):
            for problem, sample, verdict, rule in rows:
                if not problems or problem in problems:
                    sampler.offer((verdict, rule), stage.key, problem, sample)
    chosen = sampler.chosen()
    found: dict[Name, Judged] = {}
    for stage in stages:
        found |= _judged(tables, stage, chosen)
    order = sorted(chosen.names, key=lambda reason: (_rank(reason[0]), -chosen.seen[reason], reason[1]))
    return [
        Group(*reason, chosen.seen[reason], tuple(found[name] for name in chosen.names[reason])) for reason in order
    ]


def _rank(verdict: str) -> int:
    known = [one.value for one in Verdict]
    return known.index(verdict) if verdict in known else len(known)


def _judged(tables: Tables, stage: FrozenStage, chosen: Chosen[Reason]) -> Mapping[Name, Judged]:
    """Return the chosen samples of one stage."""
    names = chosen.of_stage(stage.key)
    if not names:
        return {}
    problems = {name.problem_id for name in names}
    questions = tables.questions(stage, problems)
    columns = ["problem_id", "sample", "text", "finish_reason"]
    texts = {
        (row["problem_id"], row["sample"]): (row["text"], row["finish_reason"] != "stop")
        for row in tables.rows(stage.inputs["samples"], "samples", columns, problems, "samples")
    }
    columns = ["problem_id", "sample", "verdict", "extracted", "rule", "verifier"]
    found = {}
    for row in tables.rows(stage.key, "verdicts", columns, problems, stage.name):
        name = Name(stage.key, row["problem_id"], row["sample"])
        if name in names:
            question, gold = questions[name.problem_id]
            text, cut_off = texts[name.problem_id, name.sample]
            found[name] = Judged(stage.name, question=question, gold=gold, text=text, cut_off=cut_off, **row)
    return found
