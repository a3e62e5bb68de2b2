"""Sentences about the quality of credit: the audit, the true first errors, luck. Over all policies of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from misstep.evaluation import wording as w
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.results import Credit, Results
from misstep.evaluation.scores import wilson
from misstep.terms.first_error import VALUE_OR_JUDGEMENT, harmonic_mean


def credit_words(results: Results) -> list[str]:
    """Return the sentences, for what the report has."""
    found = results.credit
    return [*_audit(found), *_doubt(found), *_true_errors(found), *_lucky(found)]


def _audit(credit: Sequence[Credit]) -> Iterator[str]:
    audits = [(c.audit, c) for c in credit if c.audit is not None]
    total = sum(audit.negatives for audit, _ in audits)
    if not total:
        return
    agree, scans = (
        _pooled([(getattr(audit, name), audit.negatives) for audit, _ in audits])
        for name in ("agreement", "scans_agreement")
    )
    words = (
        f"Audit: {w.counted(total, 'wrong solution')} {'was' if total == 1 else 'were'} also fully scanned with fresh "
        f"rollouts. The pit is the scan’s in {w.percent(agree.value)} ({w.percent_range(agree)}); two scans agree with "
        f"each other in {w.percent(scans.value)} ({w.percent_range(scans)}), so more cannot be expected."
    )
    priced = [(audit.cost, c.generated_tokens) for audit, c in audits if audit.cost]
    if priced:
        share = sum(tokens for _, tokens in priced) / sum(tokens / cost for cost, tokens in priced)
        words += f" Credit generated {share:.2f} of the tokens that scans of all wrong solutions would."
    yield words


def _doubt(credit: Sequence[Credit]) -> Iterator[str]:
    doubted = [(c.expected_false, c.pits) for c in credit if c.expected_false is not None]
    if doubted:
        share = sum(doubt * pits for doubt, pits in doubted) / sum(pits for _, pits in doubted)
        yield f"By its own posterior, credit expects {w.percent(share)} of its pits to be at another step."


def _true_errors(credit: Sequence[Credit]) -> Iterator[str]:
    found = [c.true_errors for c in credit if c.true_errors is not None]
    if not found:
        return
    wrong = _pooled([(each.wrong_accuracy, each.wrong) for each in found])
    total = sum(each.wrong for each in found)
    words = (
        f"First errors, which this task knows: the pit is the true one in {w.percent(wrong.value)} "
        f"({w.percent_range(wrong)}) of {w.counted(total, 'wrong solution')}"
    )
    before, after, none = (sum(each.places[name] for each in found) for name in ("before", "after", "no_pit"))
    words += f"; it lies before it in {before:,}, after it in {after:,}, and {none:,} have no pit."
    checked = [(each.right_accuracy, each.right) for each in found if each.right_accuracy is not None]
    if checked:
        right = _pooled(checked)
        words += (
            f" Of {w.counted(sum(count for _, count in checked), 'correct solution')}, {w.percent(right.value)} "
            f"({w.percent_range(right)}) have no step that credit blames."
        )
        f1 = harmonic_mean(wrong.value, right.value)
        if f1:
            words += f" F1, the harmonic mean of both as in ProcessBench: {w.percent(f1)}."
    yield f"{words} {VALUE_OR_JUDGEMENT}"


def _lucky(credit: Sequence[Credit]) -> Iterator[str]:
    positives, lucky = sum(c.positives for c in credit), sum(c.lucky for c in credit)
    if positives:
        yield (
            f"Of {w.counted(positives, 'credited correct solution')}, {lucky:,} ({w.percent(lucky / positives)}) hold "
            "a step after which no rollout succeeded: luck saved them."
        )


def _pooled(parts: Sequence[tuple[Estimate, int]]) -> Estimate:
    """Pool shares of several groups into one, with its interval."""
    total = sum(count for _, count in parts)
    share = sum(round(estimate.value * count) for estimate, count in parts) / total
    return Estimate(share, *wilson(share, total))
