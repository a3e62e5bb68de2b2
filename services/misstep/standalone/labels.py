"""Compare pits with labels of the first wrong step. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from misstep.terms.first_error import PLACES, VALUE_OR_JUDGEMENT, harmonic_mean, place_of


@dataclass(frozen=True, slots=True)
class Labelled:
    """One response with a label.

    ``first_error``: the step of the label, from 1; None where no step is wrong. ``predicted``: the pit, from 1; None
    for no pit. ``known``: whether credit says anything: the response was credited, or is correct. ``solved``: whether
    the model solves the problem at all; where it does not, there is no pit.
    """

    first_error: int | None
    predicted: int | None
    known: bool = True
    solved: bool = True


def compare(rows: Iterable[Labelled]) -> dict[str, Any]:
    """Return ProcessBench's measures: the accuracy on responses with a wrong step, on those without, and their F1.

    On a response with a wrong step, the pit must be exactly that step. On one without, there must be no pit. A correct
    response that was not credited counts as one without a pit. Responses that credit says nothing of are left out and
    counted (``left_out``). Accuracies are in percent; None where there is no such response.
    """
    kept = list(rows)
    wrong = [row for row in kept if row.known and row.first_error is not None]
    correct = [row for row in kept if row.known and row.first_error is None]
    places = Counter(place_of(row.predicted, row.first_error) for row in wrong if row.first_error is not None)
    clean = sum(row.predicted is None for row in correct)
    on_wrong, on_correct = _percent(places["exact"], len(wrong)), _percent(clean, len(correct))
    return {
        "wrong": len(wrong),
        **{place: places[place] for place in PLACES},
        "never_solved": sum(not row.solved for row in wrong),
        "correct": len(correct),
        "correct_without_pit": clean,
        "left_out": sum(not row.known for row in kept),
        "accuracy_wrong": on_wrong,
        "accuracy_correct": on_correct,
        "f1": harmonic_mean(on_wrong, on_correct),
        "meaning": VALUE_OR_JUDGEMENT,
    }


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
