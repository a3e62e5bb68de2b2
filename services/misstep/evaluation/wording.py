"""Figures as text: one format for each kind of number, on the page and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from misstep.evaluation.estimates import Estimate, Worth
from misstep.terms.layouts import LUCKY, PLACEBO, TEACHER

NONE = "–"
MINUS = "−"

METHODS: dict[tuple[str, str | None], str] = {
    ("sft", None): "fine-tuning on the teacher's solutions",
    ("rft", None): "fine-tuning on the policy's own correct solutions",
    ("dpo", "random"): "DPO on random pairs of a correct and a wrong solution (no credit)",
    ("dpo", "edit-distance"): "DPO on the correct and wrong solutions that differ most (no credit)",
    (
        "dpo",
        "shared-prefix",
    ): "step DPO: from the prefix before the pit, a correct rollout against the pit step",
    ("dpo", "whole-response"): "step DPO: a whole correct solution against the wrong one up to its pit",
    ("dpo", PLACEBO): "placebo of step DPO: the same wrong solutions, cut at a step drawn at random",
    ("dpo", "oracle-pit"): "step DPO with the true first wrong step in place of the pit that credit found",
    ("dpo", TEACHER): "DPO on the teacher's solution against an own wrong one (no credit, off-policy)",
    ("dpo", LUCKY): "step DPO on correct solutions: a correct rollout against a step that luck saved",
}
"""(method, layout) -> what the arm learns from."""


class WithoutCredit(NamedTuple):
    """What a credited arm is compared with: the pairs of a layout without credit, in two phrases."""

    pairs: str
    mistakes: str


WITHOUT_CREDIT: dict[str | None, WithoutCredit] = {
    "random": WithoutCredit("random pairs", "the same mistakes in random pairs"),
    PLACEBO: WithoutCredit("pairs that share a prefix at a random step", "the same mistakes cut at a random step"),
}
"""By layout: each of ``OPPONENTS``."""


def learns_from(method: str, layout: str | None, from_arm: str | None) -> str:
    """Return what an arm learns from, and from which arm's model it starts, if any."""
    text = METHODS.get((method, layout), method)
    if from_arm is None:
        return text
    if method == "rft":
        return f"{text}; that policy is {from_arm}, and training starts from the base model"
    return f"{text}, starting from {from_arm}"


def percent(share: float) -> str:
    """Write a share in [0, 1] with one decimal: ``32.4%``."""
    return f"{100 * share:.1f}%"


def percent_range(estimate: Estimate) -> str:
    """Write an interval of shares: ``30.1 to 34.8%``."""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}%"


def plus_minus(estimate: Estimate) -> str:
    """Write a share with half the width of its interval: ``32.4 ± 2.3%``."""
    return f"{100 * estimate.value:.1f} ± {50 * (estimate.high - estimate.low):.1f}%"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign: ``+4.1``."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def magnitudes(difference: Estimate) -> str:
    """Write a difference's interval that excludes zero, in percentage points without signs: ``4.1 to 9.8``."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def ratio(estimate: Estimate | None) -> str:
    """Write a ratio of errors: ``0.74``."""
    return NONE if estimate is None else f"{estimate.value:.2f}"


def number(value: float) -> str:
    """Write a positive number: two significant figures below 100, whole above (``0.43``, ``7.6``, ``134``)."""
    if value <= 0.0:
        return "0"
    decimals = max(0, 1 - math.floor(math.log10(value) + 1e-12))
    text = f"{value:.{decimals}f}"
    return text if value < 100 else f"{value:,.0f}"


def factor(worth: Worth) -> str:
    """Write a factor: ``7.6x``, ``> 8x`` or a dash."""
    if worth.relation is None or worth.factor is None:
        return NONE
    # A bound is a ratio of two sizes, usually a whole number, and not a measurement.
    return f"{number(worth.factor)}x" if worth.relation == "=" else f"{worth.relation} {bound(worth.factor)}x"


def bound(value: float) -> str:
    """Write a bound without meaningless decimals: ``8``, ``2.5``."""
    return number(value).removesuffix(".0")


def factor_range(worth: Worth) -> str:
    """Write a factor's interval: ``5.1 to 11``, ``5.1 or more``, ``at most 11``, ``open at both ends``; empty if there
    is no factor.
    """
    if worth.low is not None and worth.high is not None:
        return f"{number(worth.low)} to {number(worth.high)}"
    if worth.low is not None:
        return f"{number(worth.low)} or more"
    if worth.high is not None:
        return f"at most {number(worth.high)}"
    return "" if worth.relation is None else "open at both ends"


def problems(count: float) -> str:
    """Write a number of problems that was read from a curve, with two significant figures: ``1,900``."""
    digits = max(0, math.floor(math.log10(max(count, 1.0))) - 1)
    step = 10**digits
    return f"{round(count / step) * step:,}"


def needed(worth: Worth) -> str:
    """Write D_eq of a factor: two significant figures of a reading, all figures of a measured size (a bound)."""
    assert worth.needed is not None
    return problems(worth.needed) if worth.relation == "=" else f"{worth.needed:,.0f}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``1 seed``, ``2,000 problems``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def span(low: int, high: int) -> str:
    """Write a range of counts: ``4``, ``4 to 9``."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def listed(parts: Sequence[str]) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]
