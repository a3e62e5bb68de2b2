"""Accuracy of sampled answers: pass@k, majority vote, and intervals that are valid at 0 and 1 too. No I/O.

Only the verdict ``correct`` counts as right; ``unparsable`` and ``timeout`` are answers that are not right,
and are counted separately. The unit of chance is the test problem: n samples of one problem are not n independent
trials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from misstep.evaluation.estimates import Estimate
from misstep.evaluation.student import Z95, half_width
from misstep.terms.verdict import Verdict

VERDICTS = tuple(Verdict)

_NUMBER = re.compile(r"[+-]?(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?|\d+/0*[1-9]\d*)")
_LONGEST_NUMBER = 400


@lru_cache(maxsize=4096)
def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return an unbiased estimate of the probability that at least one of k samples is right, from n with c right.

    ``1 - C(n-c, k) / C(n, k)``, equation 1 of Chen et al. 2021 (arXiv 2107.03374).
    Raises ValueError unless ``1 <= k <= samples`` and ``0 <= correct <= samples``.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass@{k} needs 1 <= k <= samples and 0 <= correct <= samples: {correct} of {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def same_answer_key(extracted: str) -> str:
    """Return a key that is the same for two spellings of one answer (white space, ``$``, commas, ``3.0``, ``1/2``).

    Only plain numbers and fractions are compared by value; anything else by its text. A majority vote has no gold
    answer and no verifier, so it must not use either.
    """
    text = re.sub(r"\s+", " ", extracted.strip().strip("$").strip()).removesuffix(".")
    if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        return str(Fraction(text.replace(",", "")))
    return text


@dataclass(slots=True)
class Tally:
    """The results of one problem's samples: counts by verdict, and votes by answer."""

    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    votes: dict[str, list[int]] = field(default_factory=dict)
    """Answer key -> [votes, of which correct]; only samples that parse (``correct`` and ``wrong``) vote."""

    def add(self, verdict: Verdict, extracted: str | None) -> None:
        """Count one sample."""
        self.counts[verdict] += 1
        if extracted is None or verdict not in (Verdict.CORRECT, Verdict.WRONG):
            return
        vote = self.votes.setdefault(same_answer_key(extracted), [0, 0])
        vote[0] += 1
        vote[1] += verdict is Verdict.CORRECT

    @property
    def samples(self) -> int:
        """All samples, of every verdict."""
        return sum(self.counts.values())

    def majority(self) -> tuple[str | None, float]:
        """Return the answer with most votes and the probability that a vote over all n samples is right (maj@n).

        Ties are broken at random, so a tie counts with its expected value; the returned answer is then the first in
        text order. If no sample parses there is no answer, and the vote is not right. A vote over fewer than all n
        samples is not estimated.
        """
        if not self.votes:
            return None, 0.0
        most = max(votes for votes, _ in self.votes.values())
        tied = sorted(answer for answer, (votes, _) in self.votes.items() if votes == most)
        return tied[0], sum(self.votes[answer][1] / most for answer in tied) / len(tied)


def mean_estimate(values: NDArray[np.float64], draws: int) -> Estimate:
    """Estimate the mean of per-problem figures over problems and training seeds.

    Args:
        values: shape (seeds, problems), in [0, 1]; every seed answers the same problems.
        draws: number of all answers (seeds x problems x samples), the most that can be independent.

    There are two parts of chance: problems, by the variance of the seeds' average over problems; and, with S seeds, the
    luck of training, by Student's t with S - 1 degrees of freedom and the variance between seeds. `student.half_width`
    gives the half-width h of both together. The interval is then Wilson's score interval with the effective number of
    trials that has this half-width, ``p(1-p) (z/h)^2``. With one sample a problem and one seed it is Wilson's own; at 0
    and at 1, where h is zero though nothing is certain, it uses the number of problems as the number of trials. (The
    use of an effective sample size follows survey practice, e.g. Korn and Graubard 1998.) Raises ValueError if there is
    nothing to average.
    """
    seeds, problems = values.shape
    if seeds == 0 or problems == 0:
        raise ValueError("no outcomes to average")
    mean = float(values.mean())
    spread = mean * (1.0 - mean)
    by_problems = math.sqrt(float(values.mean(axis=0).var()) / problems)
    by_seeds = math.sqrt(float(values.mean(axis=1).var(ddof=1)) / seeds) if seeds > 1 else 0.0
    half = half_width(by_seeds, seeds - 1, by_problems)
    if spread <= 1e-12:
        trials = float(problems)
    elif half <= 0.0:
        trials = float(max(draws, problems))
    else:
        trials = min(spread * (Z95 / half) ** 2, float(max(draws, problems)))
    return Estimate(mean, *wilson(mean, trials))


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return Wilson's 95% score interval of a share from this (not necessarily whole) number of trials."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    # The ends are exact in theory; rounding must not put the share itself outside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def pass_curve(samples: Sequence[int], correct: Sequence[int], ks: Iterable[int]) -> dict[int, Estimate]:
    """Estimate pass@k for each k for which every problem has enough samples; others are left out."""
    fewest = min(samples, default=0)
    return {
        k: mean_estimate(np.array([[pass_at_k(n, c, k) for n, c in zip(samples, correct, strict=True)]]), sum(samples))
        for k in sorted(set(ks))
        if 1 <= k <= fewest
    }
