"""The sentence at the top of a report, for people who do not know the method. No I/O."""

from __future__ import annotations

from misstep.evaluation import wording as w
from misstep.evaluation.conclusion import headline_size, why_untrained
from misstep.evaluation.estimates import Worth
from misstep.evaluation.results import Cell, Comparison, Results
from misstep.terms.layouts import CREDITED, LUCKY, PLACEBO, TEACHER

_LEARNED_FROM: dict[tuple[str, str | None], str] = {
    ("dpo", "shared-prefix"): "its own mistakes, credited step by step",
    ("dpo", "whole-response"): "its own mistakes, credited step by step",
    ("dpo", "edit-distance"): "its own right and wrong solutions, paired where they differ most",
    ("rft", None): "its own right solutions",
    ("dpo", "random"): "its own right and wrong solutions, paired at random",
    ("dpo", TEACHER): "the teacher's solutions, against its own wrong ones",
    ("dpo", PLACEBO): "its own right and wrong solutions, cut at a random step",
    ("dpo", LUCKY): "its own right solutions, in which luck saved a step",
    ("dpo", "oracle-pit"): "its own mistakes, with the true first error given",
}
"""(method, layout) -> what the model learned from. The first kind that was run is described."""

_PLAIN = "plain fine-tuning"


def headline(results: Results) -> str:
    """Return the sentence: the source of learning, its worth in problems, the certainty, and the effect of credit.

    The arm is chosen only by its kind and its place in the experiment: the first arm on `shared-prefix` pairs, else the
    first of the next kind. Choosing the best arm on the test problems would partly choose luck, which the interval does
    not cover. For the same reason it is compared with the first arm on random pairs, not with the weakest. Arms that
    start from another arm's model are second rounds and are not described here.
    """
    if not results.cells:
        return "No model was tested, so there is no result."
    if all(c.accuracy.value == 0.0 for c in results.cells):
        return f"No model solved any of the {results.test_problems:,} test problems, so there is no result."
    cell = _chosen(results)
    if cell is None:
        return "Only plain fine-tuning was run, so there is nothing to compare with it."
    reason = why_untrained(results, cell)
    if reason is not None:
        trained = any(p.training.trained for p in results.points if (p.arm, p.size) == (cell.arm, cell.size))
        where = f"{' on every seed' if trained else ''} with {w.counted(cell.size, 'problem')}"
        return f"{_subject(cell)} did not take place{where}: {reason}."
    return f"{_subject(cell)} {_worth(cell)}{_credit(results, cell)}."


def _chosen(results: Results) -> Cell | None:
    kinds, size = list(_LEARNED_FROM), headline_size(results)
    first_round = [c for c in results.cells if c.method != "sft" and c.from_arm is None]

    def place(cell: Cell) -> tuple[int, bool]:
        kind = (cell.method, cell.layout)
        return kinds.index(kind) if kind in kinds else len(kinds), cell.size != size

    return min(first_round, key=place, default=None)  # the first of equals: the experiment's order


def _subject(cell: Cell) -> str:
    source = _LEARNED_FROM.get((cell.method, cell.layout), "its own solutions")
    return f"Learning from {source} ({cell.arm}){',' if ',' in source else ''}"


def _worth(cell: Cell) -> str:
    """Say what it is worth in problems, or in points if the data support no factor."""
    worth = cell.worth.interpolated
    given = w.counted(cell.size, "problem")
    if worth.relation is None or worth.factor is None:
        return _in_points(cell, given)
    needed = w.needed(worth)
    if worth.relation == "=":
        about, times = f"as much as about {needed}", f"{w.number(worth.factor)} times"
        about = f"only {about}" if worth.high is not None and worth.high < 1.0 else about
    else:
        than = "more" if worth.relation == ">" else "less"
        about, times = f"{than} than {needed}", f"{than} than {w.bound(worth.factor)} times"
    doubt = "" if _differs(worth) else f", which cannot be told from {_PLAIN}"
    certainty = f"95% interval {w.factor_range(worth)}, {_seeds(cell)}"
    return f"made {given} worth {about} are worth to {_PLAIN}: {times} as many{doubt} ({certainty})"


def _in_points(cell: Cell, given: str) -> str:
    solved = w.percent(cell.accuracy.value)
    difference = cell.worth.difference
    unknown = f"what that is worth in problems of {_PLAIN} cannot be said"
    if difference is None:
        interval = f"95% interval {w.percent_range(cell.accuracy)}"
        return f"solved {solved} of the test problems with {given} ({interval}, {_seeds(cell)}); {unknown}"
    before = w.percent(cell.accuracy.value - difference.value)
    span = f"{w.points(difference.low)} to {w.points(difference.high)} points"
    doubt = "" if difference.low > 0.0 or difference.high < 0.0 else ", no clear difference"
    both = f"{solved} of the test problems with {given}, against {before} for {_PLAIN}{doubt}"
    return f"solved {both} (95% interval of the difference {span}, {_seeds(cell)}); {unknown}"


def _differs(worth: Worth) -> bool:
    """Return whether the interval excludes a factor of 1. An open end is outside the measured range."""
    return (worth.low is not None and worth.low > 1.0) or (worth.high is not None and worth.high < 1.0)


def _seeds(cell: Cell) -> str:
    return w.counted(len(cell.seeds), "seed") if len(cell.seeds) > 1 else "one seed, which cannot rule out luck"


def _credit(results: Results, cell: Cell) -> str:
    """Say whether credit did better than pairs without it, for a credited arm."""
    if cell.layout not in CREDITED:
        return ""
    comparison = _opponent(results, cell)
    if comparison is None:
        return "; what credit adds cannot be said, for no arm was trained on random pairs of the same problems"
    layout = next(c.layout for c in results.cells if c.arm == comparison.against)
    return f"; {_compared(comparison, f'{w.WITHOUT_CREDIT[layout].mistakes} ({comparison.against})')}"


def _opponent(results: Results, cell: Cell) -> Comparison | None:
    layouts = {c.arm: c.layout for c in results.cells if c.from_arm is None}
    found = [c for c in results.comparisons if (c.arm, c.size) == (cell.arm, cell.size) and c.against in layouts]
    found.sort(key=lambda c: layouts[c.against] != "random")  # stable: the experiment's order stays
    return found[0] if found else None


def _compared(comparison: Comparison, pairs: str) -> str:
    d = comparison.difference
    points = f"{100 * abs(d.value):.1f} points"
    every = " on every seed" if comparison.on_every_seed else ""
    some = ", though not on every seed" if len(comparison.by_seed) > 1 and not every else ""
    did = "did less" if d.value > 0.0 else "did better"
    if d.low > 0.0 or d.high < 0.0:
        return f"{pairs} {did}{every} (by {points}, {w.magnitudes(d)}){some}"
    span = f"95% interval {w.points(d.low)} to {w.points(d.high)}"
    if every:
        few = f"{w.counted(len(comparison.by_seed), 'seed')} are too few to be sure"
        return f"{pairs} {did}{every}, by {points}, but {few} ({span})"
    return f"whether {pairs} did less cannot be told (difference {w.points(d.value)} points, {span})"
