"""The limits of an experiment: one sentence for each, with the figures that show it. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from misstep.evaluation import wording as w
from misstep.evaluation.results import Results
from misstep.plan.params import FEW_STEPS, MANY_DROPPED, GridPoint
from misstep.stages.overtrained import Accuracy, Known, measured, policy_name, warning, warning_of_samples

FEW_PROBLEMS = 400
"""With fewer problems, an accuracy of one half has an uncertainty of at least five points."""
MANY_CUT_OFF = 0.1
MANY_BAD_ROWS = 0.01
"""If a split lost a larger share of its rows, a note says so."""
_STANDARD_ERRORS = {2: 12.7, 3: 4.3}
"""Seeds -> the 97.5% quantile of Student's t, for the numbers of seeds with wide intervals."""


def find_notes(results: Results, unsampled: Sequence[GridPoint]) -> list[str]:
    """Return the limits that apply, the most important first."""
    return [
        *_unsampled(unsampled),
        *_chance(results),
        *_curve(results),
        *_nothing_to_learn_from(results),
        *_by_heart(results),
        *_untrained(results),
        *_few_steps(results),
        *_dropped(results),
        *_edges(results),
        *_cut_off(results),
        *_leaks(results),
        *_data(results),
    ]


def _unsampled(points: Sequence[GridPoint]) -> Iterator[str]:
    for point in points:
        yield f"{point.arm} at {point.size:,} problems (seed {point.seed}) has no test samples and is left out."


def _chance(results: Results) -> Iterator[str]:
    if not results.cells:
        return
    problems = results.test_problems
    if problems < FEW_PROBLEMS:
        worst = max(results.cells, key=lambda c: c.accuracy.high - c.accuracy.low).accuracy
        yield (
            f"There are only {problems} test problems: one of them is {100 / problems:.1f} points, and an accuracy "
            f"is known to ±{50 * (worst.high - worst.low):.0f} points at worst."
        )
    if len(results.seeds) == 1:
        yield (
            "One seed: intervals of accuracies cover the choice of test problems, not the luck of training. For "
            "factors, the scatter of SFT's points about their line is used instead."
        )
        return
    alone = [f"{c.arm} at {w.counted(c.size, 'problem')}" for c in results.cells if len(c.seeds) == 1]
    if alone:
        yield (
            f"Only one seed: {'; '.join(alone)}. Intervals of these accuracies cover the choice of test problems, not "
            "the luck of training."
        )
    if len(results.seeds) in _STANDARD_ERRORS:
        yield (
            f"{len(results.seeds)} seeds: a 95% interval reaches {_STANDARD_ERRORS[len(results.seeds)]} standard "
            "errors between seeds to each side; with 6 seeds it would be 2.6. More seeds (spec.seeds) narrow "
            "intervals the most."
        )


def _curve(results: Results) -> Iterator[str]:
    if results.no_fit is not None:
        yield f"There are no factors. {results.no_fit}"
        return
    assert results.fit is not None
    if results.fit.b.low <= 0.0:
        yield "There are no factors. SFT's slope cannot be told from zero."
    sft = [c for c in results.cells if c.arm == results.yardstick]
    rises = [(a, b) for a, b in pairwise(sft) if b.accuracy.value < a.accuracy.value]
    if rises:
        where = w.listed([f"{a.size:,} to {b.size:,}" for a, b in rises])
        yield (
            f"SFT gets worse from {where} problems. For interpolation such points are averaged (the nearest curve "
            "that never rises)."
        )


def _nothing_to_learn_from(results: Results) -> Iterator[str]:
    for sampled in results.sampled:
        a = sampled.answers
        who = w.sentence(policy_name(sampled.size, sampled.seed, sampled.from_arm))
        if a.samples and not a.correct:
            yield (
                f"{who} solved none of its own training problems in {w.counted(a.samples, 'sample')}: there are no "
                "positives, so nothing for RFT to learn and no pairs."
            )
        elif a.samples and not a.wrong:
            yield f"{who} has no wrong solutions: there are no negatives, so no credit and no pairs."
    for credit in results.credit:
        if credit.negatives and not credit.pits:
            yield (
                f"Credit found no pit for {policy_name(credit.size, credit.seed, credit.from_arm)}: {credit.outcome}."
            )


def _by_heart(results: Results) -> Iterator[str]:
    """Policies that solve far more of their own training problems than of others.

    SFT measures this for its own policy. For another policy, the samples on training problems are compared with the
    model's test accuracy.
    """
    tested = {(p.arm, p.size, p.seed): p for p in results.points}
    for sampled in results.sampled:
        who = policy_name(sampled.size, sampled.seed, sampled.from_arm)
        if sampled.scores is not None:
            known = measured({"policy": sampled.scores.model_dump()})
            if known is not None and known.by_heart:
                yield warning(who, known)
            continue
        model = tested.get((sampled.from_arm or results.yardstick or "", sampled.size, sampled.seed))
        answers = sampled.answers
        if model is None or not answers.samples:
            continue
        own = Accuracy(answers.correct / answers.samples, sampled.size)
        known = Known(own, Accuracy(model.pass_at[1].value, model.problems))
        if known.by_heart:
            yield warning_of_samples(who, known, f"spec.training.{model.method}")


def _untrained(results: Results) -> Iterator[str]:
    groups: dict[tuple[int, str], list[str]] = {}
    for point in results.points:
        if not point.training.trained:
            why = point.training.reason or "there was nothing to train on"
            groups.setdefault((point.size, why), []).append(point.arm)
    for (size, why), arms in sorted(groups.items()):
        names = list(dict.fromkeys(arms))
        yield (
            f"{w.listed(names)} at {w.counted(size, 'problem')}: not trained, {why}. Scores are those of the starting "
            "point."
        )


def _few_steps(results: Results) -> Iterator[str]:
    steps: dict[tuple[str, int], list[int]] = {}
    for point in results.points:
        if point.training.trained and point.training.kept_steps < FEW_STEPS:
            steps.setdefault((point.arm, point.size), []).append(point.training.kept_steps)
    if steps:
        where = [
            f"{arm} at {w.counted(size, 'problem')} ({w.span(min(of), max(of))})" for (arm, size), of in steps.items()
        ]
        yield (
            f"Models with fewer than {FEW_STEPS} optimiser steps have hardly been trained: {'; '.join(where)}. More "
            "epochs or a smaller batchSize (spec.training) give more steps."
        )


def _dropped(results: Results) -> Iterator[str]:
    shares: dict[tuple[str, int], list[float]] = {}
    for point in results.points:
        dropped, kept = point.training.rows_dropped, point.training.rows or 0
        if dropped and dropped / (dropped + kept) > MANY_DROPPED:
            shares.setdefault((point.arm, point.size), []).append(dropped / (dropped + kept))
    if shares:
        where = [f"{arm} at {w.counted(size, 'problem')} ({w.percent(max(of))})" for (arm, size), of in shares.items()]
        yield (
            f"Training rows were dropped, mostly for their length, so that a model learnt from fewer than the others: "
            f"{'; '.join(where)}. The table of trainings has the reasons."
        )


def _edges(results: Results) -> Iterator[str]:
    sizes: dict[str, list[int]] = {}
    for point in results.points:
        scored = point.training.scored_epochs
        if len(scored) > 1 and point.training.best_epoch == scored[-1]:
            sizes.setdefault(point.arm, []).append(point.size)
    if sizes:
        where = [f"{arm} ({', '.join(f'{size:,}' for size in sorted(set(at)))})" for arm, at in sizes.items()]
        yield f"The last checkpoint scored was the best, so longer training might still help: {'; '.join(where)}."


def _cut_off(results: Results) -> Iterator[str]:
    for cell in results.cells:
        share = cell.answers.cut_off / cell.answers.samples if cell.answers.samples else 0.0
        if share > MANY_CUT_OFF:
            yield (
                f"{w.percent(share)} of {cell.arm}'s test answers at {cell.size:,} problems were cut off at the token "
                "limit and count as not right."
            )


def _leaks(results: Results) -> Iterator[str]:
    left_out = results.problems.left_out_of_training
    if left_out:
        yield (
            f"{w.counted(left_out, 'training problem')} shared a passage with a test problem and "
            f"{'was' if left_out == 1 else 'were'} left out."
        )


def _data(results: Results) -> Iterator[str]:
    """What was lost in reading the data, if it is much or may be due to an error in the files."""
    data = results.problems
    for split, bad in data.bad_gold.items():
        read = data.rows.get(split, 0)
        if bad > MANY_BAD_ROWS * read:
            why = ", ".join(f"{count:,} {reason}" for reason, count in data.bad_gold_reasons.get(split, {}).items())
            yield (
                f"{w.counted(bad, f'{split} problem')} of {w.counted(read, 'row')} had no final answer that responses "
                f"can be checked against, and {'was' if bad == 1 else 'were'} left out{f': {why}' if why else ''}."
            )
    for split, lost in data.no_question.items():
        yield f"{w.counted(lost, f'{split} row')} had no question and {'was' if lost == 1 else 'were'} left out."
    for split, other in data.duplicates_with_another_answer.items():
        repeat = "repeats" if other == 1 else "repeat"
        yield (
            f"{w.counted(other, f'{split} row')} {repeat} a problem with an answer that is "
            "spelled otherwise; the first was kept. Where they truly differ, one of them is wrong."
        )
    for split, remarks in data.remarks.items():
        for remark, rows in remarks.items():
            yield f"In {w.counted(rows, f'{split} row')} {remark}."
    if data.without_solution and data.teacher is None:
        yield (
            f"{w.counted(data.without_solution, 'training problem')} came without a solution of the teacher: the "
            "policy samples on them, and fine-tuning does without them."
        )
