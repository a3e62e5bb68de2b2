"""Choose which rollouts to draw next for the wrong responses of one problem.

The search goes in rounds. In each round every response whose pit is not certain enough names the draws that lower the
uncertainty of its pit most for their tokens (`misstep.credit.posterior`); draws that several responses name from one
prefix are drawn once. Then all results of the round are taken in. A round depends on nothing but the results of the
rounds before, so batches, shards, restarts and the order of arrival change nothing.

To keep the engine busy a response may name several draws in one round: those that it would name one after another if
each draw came out as is most likely, as long as all of them probably do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul

from misstep.credit.evidence import Evidence, Known
from misstep.credit.posterior import PitPosterior, StepScores

LEAST_GAIN = 0.01
"""In nats: a response is done when no draw is expected to tell more about its pit."""
LOOK_AHEAD = 0.7
"""Draws are named in advance while it is at least this likely that all of the round are needed."""
DRAW_TOKENS = 2
"""Cost of starting a rollout, in generated tokens."""


@dataclass(frozen=True, slots=True)
class Target:
    """When a response is done.

    ``error``: the probability that its pit is another step, at most. ``rollouts``: per prefix, at most. ``budget``: the
    rollouts that the response names, at most. ``tokens``: none is named once those named before have generated so many
    tokens. None is no limit.
    """

    error: float
    rollouts: int
    budget: int | None = None
    tokens: int | None = None


@dataclass(slots=True)
class Response:
    """One wrong response whose pit is searched. ``drawn[i]`` rollouts were drawn from its first i steps, for any
    response of the problem that shares them."""

    evidence: Evidence
    scores: StepScores
    posterior: PitPosterior = field(init=False)
    drawn: list[int] = field(init=False)
    spent: int = 0
    """Rollouts that this response named."""
    spent_tokens: int = 0
    done: bool = False
    _landing: list[list[float]] = field(init=False)

    def __post_init__(self) -> None:
        steps = len(self.evidence.ends)
        self.posterior = PitPosterior(self.scores.prior(sharpness=0), self.scores.rate)
        self.drawn = [0] * steps
        self._landing = [self.scores.landing(prefix) for prefix in range(steps)]

    def learn(self, known: Sequence[Known]) -> None:
        """Take in responses to the problem."""
        self.posterior.add(self.evidence.add(known))

    def relearn(self, sharpness: float) -> None:
        """Make the posterior again from the counts of the evidence."""
        self.posterior.expect(self.scores.prior(sharpness))
        for prefix, (solved, failed) in enumerate(zip(self.evidence.solved, self.evidence.failed, strict=True)):
            self.posterior.add([(prefix, True)] * solved + [(prefix, False)] * failed)

    def certain(self, target: Target, posterior: PitPosterior, alive: int) -> bool:
        """Return whether the pit is known well enough: with the target's certainty, and a success is known from the
        steps before it, from which a pair can be made, but none from the pit on, which would refute it.

        Args:
            alive: the steps of the longest prefix from which a success is known.
        """
        return posterior.certainty >= 1 - target.error and alive == posterior.pit - 1

    def gains(self, posterior: PitPosterior) -> list[float]:
        """Return how much one draw from each prefix is expected to tell, in nats: it may repeat some of the steps that
        follow, and tells something of the prefix where it leaves."""
        at = posterior.information()
        return [sum(map(mul, self._landing[prefix], at)) for prefix in range(len(at))]

    def likeliest(self, prefix: int, posterior: PitPosterior) -> tuple[int, float]:
        """Return where a draw from a prefix most likely leaves the response, and its chance of success there."""
        landing = self._landing[prefix]
        place = max(range(prefix, len(landing)), key=landing.__getitem__)
        return place, posterior.success(place)


def choose(response: Response, target: Target) -> list[int]:
    """Return the prefixes to draw from in the next round, one entry for each draw; none if the response is done."""
    posterior, alive = response.posterior, response.evidence.deepest_success
    drawn, wanted = response.drawn.copy(), list[int]()
    likely = 1.0
    while not response.certain(target, posterior, alive):
        if not _affordable(response, target, wanted):
            break
        prefix = _most_useful(response, posterior, alive, drawn, target)
        if prefix is None:
            break
        wanted.append(prefix)
        drawn[prefix] += 1
        place, success = response.likeliest(prefix, posterior)
        likely *= max(success, 1 - success)
        if likely < LOOK_AHEAD:
            break
        solved = success >= 0.5
        posterior = posterior.copy()
        posterior.add([(place, solved)])
        alive = max(alive, place) if solved else alive
    return wanted


def _affordable(response: Response, target: Target, wanted: Sequence[int]) -> bool:
    """Return whether one more draw fits the budget, if those of this round are as long as the response's own rest."""
    ends = response.evidence.ends
    tokens = response.spent_tokens + sum(ends[-1] - ends[prefix - 1] for prefix in wanted)
    within = target.budget is None or response.spent + len(wanted) < target.budget
    return within and (target.tokens is None or tokens < target.tokens)


def _most_useful(
    response: Response, posterior: PitPosterior, alive: int, drawn: Sequence[int], target: Target
) -> int | None:
    """Return the prefix whose next draw tells most for its tokens; None if every prefix has all its rollouts, or no
    draw tells anything.

    If the pit is certain, but no success is known from the steps before it, this prefix is drawn from.
    """
    free = [prefix for prefix in range(1, posterior.steps) if drawn[prefix] < target.rollouts]
    if posterior.certainty >= 1 - target.error and posterior.pit - 1 > alive:
        return posterior.pit - 1 if posterior.pit - 1 in free else None
    if not free:
        return None
    gains, ends = response.gains(posterior), response.evidence.ends

    def worth(prefix: int) -> tuple[float, int]:
        return gains[prefix] / (ends[-1] - ends[prefix - 1] + DRAW_TOKENS), -prefix

    best = max(free, key=worth)
    return best if gains[best] >= LEAST_GAIN else None
