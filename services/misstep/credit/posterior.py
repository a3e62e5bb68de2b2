"""Where the pit of a wrong response is, as a probability of each step.

The model of a response with L steps, given that the policy can solve the problem:

- The pit t is one of the steps 1 .. L. A step that surprised the policy is more often the pit; how much more often is
  fitted on the run (`fit_sharpness`). A step that the policy nearly always takes cannot be one, because Q hardly
  changes there (`StepScores`).
- A continuation that leaves the response before the pit, after i < t steps, succeeds with a rate r_i ~ Beta(a, b). The
  mean is the problem's own success rate, which its samples estimate (`SolvedRates`).
- One that leaves it later (i >= t) succeeds with a rate r_i ~ Beta(a', b') close to zero: a lucky recovery.
- Rates of different prefixes are independent, and so are draws (`misstep.credit.evidence`).

The Beta-binomial likelihood of s successes and f failures is B(a+s, b+f) / B(a, b), whatever rule decided when to stop
drawing, so draws may be chosen one by one. Assumptions that are not exact: rates of one problem's prefixes are alike,
and a likelier step is less often wrong. `benchmarks/credit.py` shows how well the posterior is calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from misstep.credit.values import Counts

CONCENTRATION = 4.0
"""a + b of the rate before the pit: how alike the rates of one problem's prefixes are, in draws."""
RECOVERY = (0.05, 5.0)
"""a' and b' of the rate from the pit on: of 100 rollouts about one recovers."""
LEAST_SURPRISE = 0.05
"""In nats, added to the surprise of every step: one that the policy was sure of can still be the pit."""
LEAST_FALL = 1e-3
"""The probability of not taking a step is at least this: log-probabilities of 0 are rounded."""
ANY_STEP = 0.02
"""The share of pits that are any step alike, whatever its surprise."""
SHARPNESS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""The powers of surprise that a run's prior may have. With 0 log-probabilities say nothing."""


@dataclass(frozen=True, slots=True)
class SolvedRates:
    """The distribution of success rates over the problems that have negatives, Beta(a, b), fitted by moments."""

    a: float = 1.0
    b: float = 1.0

    @classmethod
    def fitted(cls, samples: Iterable[Counts]) -> SolvedRates:
        """Fit to the problems that were solved at least once and have samples; with fewer than two problems, or rates
        that do not vary, it is the uniform distribution."""
        rates = [counts.correct / counts.rollouts for counts in samples if counts.correct and counts.rollouts]
        if len(rates) < 2:
            return cls()
        mean = math.fsum(rates) / len(rates)
        variance = math.fsum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1)
        if not 0 < variance < mean * (1 - mean):
            return cls()
        total = mean * (1 - mean) / variance - 1
        return cls(mean * total, (1 - mean) * total)

    def of(self, samples: Counts) -> float:
        """Return the mean success rate of a problem, given its samples and rollouts."""
        return (self.a + samples.correct) / (self.a + self.b + samples.rollouts)


@dataclass(frozen=True, slots=True)
class StepScores:
    """What the log-probabilities of one response's steps say before anything is drawn.

    Args:
        logprobs: of each step under the policy, in nats.
        rate: the mean success rate of a continuation that leaves the response before the pit.
        rollouts: how many draws a full scan would make from a prefix.
    """

    logprobs: Sequence[float]
    rate: float
    rollouts: int

    def prior(self, sharpness: float) -> list[float]:
        """Return the prior of the pit at each step.

        It is proportional to the step's surprise (the negative of its log-probability) to the power ``sharpness``, but
        for the share `ANY_STEP`, which is alike for all; and to the chance that a full scan would see the prefix before
        the step alive if the step is the pit. That is 1 - (1 - Q)^rollouts with Q = (1 - p) rate: only continuations
        that do not take the step, of probability p, can succeed.
        """
        surprise = [(LEAST_SURPRISE + max(0.0, -logprob)) ** sharpness for logprob in self.logprobs]
        total, each = math.fsum(surprise), ANY_STEP / len(surprise)
        weights = [
            ((1 - ANY_STEP) * weight / total + each) * self._visible(logprob)
            for weight, logprob in zip(surprise, self.logprobs, strict=True)
        ]
        whole = math.fsum(weights)
        return [weight / whole for weight in weights]

    def _visible(self, logprob: float) -> float:
        fall = -math.expm1(min(logprob, -LEAST_FALL)) * self.rate
        return 1.0 - (1.0 - fall) ** self.rollouts

    def landing(self, prefix: int) -> list[float]:
        """Return, for a draw from a prefix, the chance that it leaves the response after 0, 1, ... L-1 steps. They do
        not sum to 1: a draw may also repeat the response to its end."""
        chances, left = [0.0] * prefix, 1.0
        for logprob in self.logprobs[prefix:]:
            repeat = math.exp(min(0.0, logprob))
            chances.append(left * (1 - repeat))
            left *= repeat
        return chances


def fit_sharpness(found: Iterable[tuple[StepScores, Sequence[float]]]) -> float:
    """Return the sharpness of `SHARPNESS` under which the rollouts of some responses are likeliest.

    Args:
        found: of each response, its scores and the log-likelihood of its draws for a pit at each step
            (`PitPosterior.likelihoods`).

    The likelihood is that of the draws, summed over where the pit may be, so it needs no pit to be known (empirical
    Bayes). A normal distribution around 1 with a standard deviation of 1 stands in where there are few responses.
    """
    responses = list(found)

    def score(sharpness: float) -> float:
        fits = (_marginal(scores.prior(sharpness), draws) for scores, draws in responses)
        return math.fsum(fits) - (sharpness - 1) ** 2 / 2

    return max(SHARPNESS, key=lambda sharpness: (score(sharpness), -sharpness))


def _marginal(prior: Sequence[float], likelihoods: Sequence[float]) -> float:
    most = max(likelihoods)
    return most + math.log(math.fsum(p * math.exp(each - most) for p, each in zip(prior, likelihoods, strict=True)))


class PitPosterior:
    """The posterior of one wrong response.

    Args:
        prior: L probabilities, one for each step.
        rate: the mean success rate of a continuation that leaves the response before the pit.
    """

    def __init__(self, prior: Sequence[float], rate: float) -> None:
        self.steps = len(prior)
        self._prior = [math.log(share) for share in prior]
        self._before = (CONCENTRATION * rate, CONCENTRATION * (1 - rate))
        self._solved = [0] * self.steps
        self._failed = [0] * self.steps
        self._ratio = [0.0] * self.steps
        """For each prefix, the log-likelihood of its draws before the pit less that from the pit on."""
        self.weights = list(prior)
        """The probability of the pit at step t is ``weights[t - 1]``."""

    def expect(self, prior: Sequence[float]) -> None:
        """Replace the prior; what was learned from draws stays."""
        self._prior = [math.log(share) for share in prior]
        self._update()

    def likelihoods(self) -> list[float]:
        """Return the log-likelihood of all draws for a pit at each step, up to a constant."""
        return list(accumulate(self._ratio))

    def copy(self) -> PitPosterior:
        """Return an independent copy, to look ahead with."""
        other = object.__new__(PitPosterior)
        other.steps, other._prior, other._before = self.steps, self._prior, self._before
        other._solved, other._failed = self._solved.copy(), self._failed.copy()
        other._ratio, other.weights = self._ratio.copy(), self.weights
        return other

    def add(self, draws: Iterable[tuple[int, bool]]) -> None:
        """Take in draws: from how many steps, and whether it succeeded. Those of the bare problem say nothing about the
        pit."""
        for prefix, solved in draws:
            if prefix:
                before, after = self._chances(prefix)
                self._ratio[prefix] += math.log(before / after) if solved else math.log((1 - before) / (1 - after))
                (self._solved if solved else self._failed)[prefix] += 1
        self._update()

    def _update(self) -> None:
        logs = [prior + draws for prior, draws in zip(self._prior, accumulate(self._ratio), strict=True)]
        most = max(logs)
        weights = [math.exp(log - most) for log in logs]
        whole = math.fsum(weights)
        self.weights = [weight / whole for weight in weights]

    def _chances(self, prefix: int) -> tuple[float, float]:
        """Return the chance that the next draw that leaves after a prefix succeeds, before the pit and from it on."""
        solved, drawn = self._solved[prefix], self._solved[prefix] + self._failed[prefix]
        (a, b), (c, d) = self._before, RECOVERY
        return (a + solved) / (a + b + drawn), (c + solved) / (c + d + drawn)

    @property
    def pit(self) -> int:
        """Return the likeliest step, from 1; of equals the first."""
        return self.weights.index(max(self.weights)) + 1

    @property
    def certainty(self) -> float:
        """Return the probability of the likeliest step."""
        return max(self.weights)

    def alive(self) -> list[float]:
        """Return, for each prefix of 0 to L steps, the probability that it is before the pit."""
        left, chances = 1.0, [1.0]
        for weight in self.weights:
            left -= weight
            chances.append(max(0.0, left))
        chances[-1] = 0.0
        return chances

    def success(self, prefix: int) -> float:
        """Return the chance that the next draw that leaves after a prefix succeeds."""
        before, after = self._chances(prefix)
        dead = math.fsum(self.weights[:prefix])
        return (1 - dead) * before + dead * after

    def information(self) -> list[float]:
        """Return how much a draw that leaves the response after each prefix is expected to lower the posterior's
        entropy, in nats; 0 for the bare problem.

        A draw after i steps scales the weights of the steps up to i by one factor and the others by another, so sums of
        w and w log w on either side of i are enough.
        """
        entropies = [weight * math.log(weight) if weight > 0 else 0.0 for weight in self.weights]
        all_entropy = math.fsum(entropies)
        gains = [0.0]
        dead = dead_entropy = 0.0
        for prefix in range(1, self.steps):
            dead += self.weights[prefix - 1]
            dead_entropy += entropies[prefix - 1]
            alive, alive_entropy = max(0.0, 1 - dead), all_entropy - dead_entropy
            before, after = self._chances(prefix)
            left = 0.0
            for live, lost in ((before, after), (1 - before, 1 - after)):
                chance = alive * live + dead * lost
                if chance > 0:
                    spread = live * alive_entropy + lost * dead_entropy
                    spread += (alive * live * math.log(live) if live > 0 else 0.0) + dead * lost * math.log(lost)
                    left += chance * math.log(chance) - spread
            gains.append(max(0.0, -all_entropy - left))
        return gains
