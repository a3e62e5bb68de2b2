"""The conclusion of an experiment, as one paragraph made from its figures. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from misstep.evaluation import wording as w
from misstep.evaluation.estimates import Worth
from misstep.evaluation.results import Cell, Comparison, Results


def conclude(results: Results) -> str:
    """Return the paragraph: SFT's curve, the result of each method at one size, and the effect of credit itself.

    Methods are described at one size, `headline_size`. A difference counts only if its 95% interval excludes zero.
    """
    cells = results.cells
    if not cells:
        return "No test problem was sampled, so there is nothing to compare."
    if all(c.accuracy.value == 0.0 for c in cells):
        return (
            f"No model solved any of the {results.test_problems:,} test problems, so nothing can be compared: "
            "what more problems or mistakes are worth cannot be seen where nothing is solved."
        )
    size = headline_size(results)
    methods = sorted(
        (c for c in cells if c.method != "sft" and c.size == size), key=lambda c: (-c.accuracy.value, c.arm)
    )
    sentences = [_sft_sentence(results), *_method_sentences(results, methods)]
    sentences += _no_factor_sentence(results, methods)
    sentences += _comparison_sentences(results, [c for c in results.comparisons if c.size == size])
    return " ".join(sentence for sentence in sentences if sentence)


_ROOM = 8
"""SFT should be measured up to this multiple of the size at which methods are described, so that a factor can be read
off."""


def headline_size(results: Results) -> int | None:
    """Return the size at which most methods other than SFT were run, or None if there is only SFT.

    Among equals, the largest one for which SFT's curve covers a factor of eight; else the smallest.
    """
    runs = Counter(c.size for c in results.cells if c.method != "sft")
    if not runs:
        return None
    sizes = [size for size, count in runs.items() if count == max(runs.values())]
    measured = max((c.size for c in results.cells if c.arm == results.yardstick), default=0)
    return max((size for size in sizes if size * _ROOM <= measured), default=min(sizes))


def _sft_sentence(results: Results) -> str:
    sft = [c for c in results.cells if c.arm == results.yardstick]
    if not sft:
        return ""
    first, last = sft[0], sft[-1]
    if len(sft) == 1:
        return (
            f"Plain fine-tuning ({first.arm}) solves {w.percent(first.accuracy.value)} of the test problems "
            f"after {first.size:,} training problems."
        )
    text = (
        f"Plain fine-tuning ({first.arm}) solves {w.percent(first.accuracy.value)} of the test problems after "
        f"{first.size:,} training problems and {w.percent(last.accuracy.value)} after {last.size:,}"
    )
    if results.fit is None:
        return f"{text}."
    b = results.fit.b
    return f"{text}: its error falls as D to the power {w.MINUS}{b.value:.2f} ({b.low:.2f} to {b.high:.2f})."


def _method_sentences(results: Results, methods: Sequence[Cell]) -> list[str]:
    """Describe the best method in full, others with a factor in one list, and those without a factor in another."""
    trained = [c for c in methods if why_untrained(results, c) is None]
    uncounted = [c for c in trained if c.worth.interpolated.relation is None]
    numbers = [c for c in trained if c.worth.interpolated.relation == "="]
    brief = numbers[1:] if numbers and numbers[0] is methods[0] else numbers
    sentences = [_method_sentence(results, c) for c in methods if c not in brief and c not in uncounted]
    if brief:
        found = [(c, c.worth.interpolated) for c in brief]
        parts = [
            f"{c.arm} reaches {w.percent(c.accuracy.value)} ({_times(worth)}; {w.factor_range(worth)})"
            for c, worth in found
        ]
        sentences.insert(1 if brief is not numbers else len(sentences), f"{w.listed(parts)}.")
    if uncounted:
        parts = [f"{c.arm} solves {w.percent(c.accuracy.value)}{_difference(c)}" for c in uncounted]
        than = f" (in brackets: points against {results.yardstick} there)" if _difference(uncounted[0]) else ""
        sentences.append(f"At {uncounted[0].size:,} problems{than}, {w.listed(parts)}.")
    return sentences


def _difference(cell: Cell) -> str:
    d = cell.worth.difference
    return "" if d is None else f" ({w.points(d.value)}; {w.points(d.low)} to {w.points(d.high)})"


def why_untrained(results: Results, cell: Cell) -> str | None:
    """Return why a seed of a cell was not trained, or None."""
    for point in results.points:
        if (point.arm, point.size) == (cell.arm, cell.size) and not point.training.trained:
            return point.training.reason or "there was nothing to train on"
    return None


def _method_sentence(results: Results, cell: Cell) -> str:
    accuracy = w.percent(cell.accuracy.value)
    untrained = why_untrained(results, cell)
    if untrained is not None:
        return (
            f"{cell.arm} was not trained at {cell.size:,} problems ({untrained}); its {accuracy} are those of its "
            "starting point."
        )
    start = f"{cell.arm} at {cell.size:,} problems solves {accuracy}"
    worth = cell.worth.interpolated
    needed = w.needed(worth)
    if worth.relation == ">":
        more = f"{start}, more than {results.yardstick} with {needed}: worth over {_times(worth)} as many problems"
        return f"{more}{_span(worth)}."
    if worth.relation == "<":
        return f"{start}, less than {results.yardstick} with {needed}{_span(worth)}."
    takes = f"which {results.yardstick} needs about {needed} for"
    return f"{start}, {takes} ({_times(worth)} as many; {w.factor_range(worth)})."


def _span(worth: Worth) -> str:
    """Add a bound's interval if it does not end at the bound."""
    ends = {worth.low, worth.high} - {None, worth.factor}
    return f" ({w.factor_range(worth)})" if ends else ""


def _no_factor_sentence(results: Results, methods: Sequence[Cell]) -> list[str]:
    """Say once why there are no factors, if the reason is the same for all trained methods."""
    reasons = {c.worth.interpolated.reason for c in methods if c.worth.interpolated.relation is None}
    shared = results.no_fit if results.no_fit in reasons else None
    if shared is None and len(reasons) == 1:
        shared = next(iter(reasons))
    if shared is None or shared.startswith("Nothing was trained"):
        return []
    return [f"How many problems that is worth cannot be said. {shared}"]


def _comparison_sentences(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    layouts = {c.arm: c.layout for c in results.cells}
    sentences = []
    for against in dict.fromkeys(c.against for c in comparisons):
        parts = [f"{c.arm} is {_compared(c)}" for c in comparisons if c.against == against]
        sentences.append(f"Against {w.WITHOUT_CREDIT[layouts[against]].pairs} ({against}), {w.listed(parts)}.")
    return sentences


def _compared(comparison: Comparison) -> str:
    """Describe a difference of accuracies, in percentage points, and whether it has the same sign on every seed."""
    d = comparison.difference
    every = comparison.on_every_seed
    seeds = ", on every seed" if every else ""
    if d.low > 0.0 or d.high < 0.0:
        better = "better" if d.low > 0.0 else "worse"
        return f"{100 * abs(d.value):.1f} points {better} ({w.magnitudes(d)}{seeds})"
    span = f"{w.points(d.low)} to {w.points(d.high)} points"
    if every:
        better = "better" if d.value > 0.0 else "worse"
        return f"{100 * abs(d.value):.1f} points {better} on every seed, but not for certain ({span})"
    return f"not clearly better or worse ({span})"


def _times(worth: Worth) -> str:
    assert worth.factor is not None
    return f"{w.number(worth.factor) if worth.relation == '=' else w.bound(worth.factor)} times"
