"""Write the pages: self-contained, without scripts, and safe against any text in them.

Equal arguments give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from misstep.audit.credit_read import CreditStage, Wanted
from misstep.audit.credit_view import Value
from misstep.audit.verdicts_read import Group
from misstep.evaluation import wording as w
from misstep.evaluation.safe_page import environment, style, value_bar
from misstep.terms.verdict import Verdict

_DEEPEST = 34
"""Percent of colour in a step after which Q is 1."""
_FAINT = 0.05
_NAMED = 8


def credit_page(experiment: str, stages: Sequence[CreditStage], wanted: Wanted, unfinished: Sequence[str] = ()) -> str:
    """Return the page of credited solutions.

    Args:
        unfinished: names of credit stages that have no result yet.
    """
    shown = sum(len(stage.wrong) for stage in stages)
    seen = sum(stage.seen for stage in stages)
    facts = [f"{shown:,} of {w.counted(seen, 'wrong solution')}"]
    if wanted.only is not None:
        facts[0] += f" {wanted.only.words}"
    facts += [w.counted(len(stages), "credit stage"), "chosen by a hash of their names"]
    return _render(
        "credit.html.j2",
        title="Credit",
        experiment=experiment,
        facts=facts,
        unfinished=some_of(unfinished),
        stages=stages,
        stage_facts=_stage_facts,
        audit=_audit,
        scans=_scans,
        value_bar=value_bar,
        tint=_tint,
        after=_after,
        reason=lambda name: name.replace("_", " ").replace("-", " "),
    )


def verdicts_page(experiment: str, groups: Sequence[Group], stages: int, unfinished: Sequence[str] = ()) -> str:
    """Return the page of verdicts.

    Args:
        stages: how many verify stages were read.
        unfinished: names of those that have no result yet.
    """
    total = sum(group.seen for group in groups)
    shown = sum(len(group.judged) for group in groups)
    facts = [
        f"{shown:,} of {w.counted(total, 'sample')}",
        w.counted(stages, "verify stage"),
        "chosen by a hash of their names, spread over verdicts and rules",
    ]
    return _render(
        "verdicts.html.j2",
        title="Verdicts",
        experiment=experiment,
        facts=facts,
        unfinished=some_of(unfinished),
        groups=groups,
        total=total,
    )


def some_of(names: Sequence[str]) -> str:
    """List the first few names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_NAMED])} and {more:,} more"


def _render(template: str, **values: Any) -> str:
    css = style() + files("misstep.audit").joinpath("audit.css").read_text("utf-8")
    named = environment("misstep.audit").get_template(template)
    return named.render(css=css, w=w, verdicts=[one.value for one in Verdict], **values)


def _stage_facts(stage: CreditStage) -> list[str]:
    """Say what a stage found, as far as its summary counts it."""
    counts = stage.summary
    facts = [stage.estimator, f"Q of the best of {stage.best_of}" if stage.best_of > 1 else "Q of one continuation"]
    if stage.target_error is not None:
        facts.append(f"wanted certainty {1 - stage.target_error:.2f}")
    if "negatives" in counts and "pits" in counts:
        facts.append(f"{w.counted(counts['pits'], 'pit')} in {w.counted(counts['negatives'], 'wrong solution')}")
    errors: Mapping[str, int] = counts.get("true_errors") or {}
    known = sum(errors.values())
    if known:
        facts.append(f"the pit is the true first error in {errors.get('exact', 0):,} of {known:,}")
    return facts


def _audit(stage: CreditStage) -> str:
    """Say how many wrong solutions were also fully scanned, and how often the pits agree; empty where none was."""
    found: Mapping[str, int] = stage.summary.get("audit") or {}
    checked = found.get("negatives", 0)
    if not checked:
        return ""
    was = "was" if checked == 1 else "were"
    words = f"Audit: {w.counted(checked, 'wrong solution')} {was} also fully scanned, with fresh rollouts."
    words += f" The scan found the same pit in {found['same_pit']:,} of {checked:,}."
    if stage.estimator != "full-scan":
        words += f" A second scan found that of the first in {found['scans_same_pit']:,}."
    return words


def _scans(pits: Sequence[int | None]) -> str:
    """Say which pits the scans of one solution found."""
    return ", ".join("no pit" if pit is None else f"step {pit}" for pit in pits)


def _tint(value: Value) -> str:
    """Return the style of a step: the more hope there is after it, the deeper its colour."""
    if not value.number or value.number < _FAINT:
        return ""
    return f"background: color-mix(in srgb, var(--q) {_DEEPEST * value.number:.0f}%, var(--paper))"


def _after(steps: int) -> str:
    return "from the problem alone" if steps == 0 else f"after {w.counted(steps, 'step')}"
