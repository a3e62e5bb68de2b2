"""Search the pits of one problem's responses rollout by rollout, by their posteriors (`misstep.credit.adaptive`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from misstep.credit.adaptive import Response, Target, choose
from misstep.credit.block import NEVER_SOLVED, CreditedResponse, Prefix, Rollout
from misstep.credit.evidence import Evidence, Known, shared_steps
from misstep.credit.posterior import SolvedRates, StepScores
from misstep.credit.searches import Draw, credited_response, prefixes_of, solved_problem
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.steps import Steps
from misstep.credit.values import Counts, best_of


@dataclass(slots=True)
class _Adaptive:
    """A response whose pit is searched by its posterior."""

    negative: SampledResponse
    steps: Steps
    logprobs: Sequence[float]
    """Of its steps, in nats."""
    prefixes: list[Prefix]
    response: Response
    named: list[int] = field(default_factory=list)
    """The prefixes of its draws in the current round, in its order."""
    asked: set[int] = field(default_factory=set)
    """The prefixes that it has ever drawn from."""


class AdaptiveSearch:
    """Search by the posterior of each pit (`misstep.credit.adaptive`).

    It begins with a prior that takes all steps alike, and goes on by `sharpen` once the run's prior is known.

    Args:
        problem: its negatives are searched.
        steps: of each negative.
        logprobs: of each negative, the log-probability of each step, in nats.
        target: when a negative is done.
        best_of: if none of the problem's samples is correct, and they are fewer than this, the bare problem is rolled
            out first.
        rates: the success rates of the run's problems.
    """

    def __init__(
        self,
        problem: CreditProblem,
        steps: Sequence[Steps],
        logprobs: Sequence[Sequence[float]],
        target: Target,
        best_of: int,
        rates: SolvedRates,
    ) -> None:
        self._problem, self._target, self._best_of, self._rates = problem, target, best_of, rates
        self.prefixes: dict[str, Prefix] = {}
        self._solved = True if problem.samples.correct else solved_problem(problem.samples, best_of)
        self._responses = [
            self._open(negative, cut, scores)
            for negative, cut, scores in zip(problem.negatives, steps, logprobs, strict=True)
        ]
        self._sharpness: float | None = None
        self._pending: set[str] = set()
        self._before: dict[str, int] = {}
        """The rollouts that each prefix of this round had before it."""

    def _open(self, negative: SampledResponse, steps: Steps, logprobs: Sequence[float]) -> _Adaptive:
        prefixes = prefixes_of(self._problem, negative, steps, self.prefixes)
        if self._solved is not None:
            prefixes[0].counts = self._problem.samples
        response = Response(Evidence(negative.token_ids, steps.ends), self._scores(logprobs, self._problem.samples))
        response.learn([known for sample, known in self._problem.known if sample != negative.sample])
        return _Adaptive(negative, steps, logprobs, prefixes, response)

    def _scores(self, logprobs: Sequence[float], samples: Counts) -> StepScores:
        return StepScores(logprobs, self._rates.of(samples), self._target.rollouts)

    def start(self) -> list[Draw]:
        if self._solved is not None:
            return self._round()
        bare = next(prefix for prefix in self.prefixes.values() if not prefix.token_ids)
        return self._ask({bare.prefix_id: self._target.rollouts})

    def draws(self) -> Iterator[tuple[StepScores, Sequence[float]]]:
        """Yield, for each response to a problem that the policy can solve, what `fit_sharpness` needs."""
        for one in self._responses if self._solved else ():
            yield one.response.scores, one.response.posterior.likelihoods()

    def sharpen(self, sharpness: float) -> list[Draw]:
        """Go on with the run's prior; return the next draws."""
        self._sharpness = sharpness
        for one in self._responses:
            one.response.posterior.expect(one.response.scores.prior(sharpness))
        return self.start()

    def _ask(self, counts: dict[str, int]) -> list[Draw]:
        self._pending = set(counts)
        self._before = {name: len(self.prefixes[name].rollouts) for name in counts}
        return [(self.prefixes[name], count) for name, count in counts.items()]

    def _round(self) -> list[Draw]:
        """Let every response name its draws."""
        if not self._solved:
            for one in self._responses:
                one.response.done = True
            return []
        counts: dict[str, int] = {}
        for one in self._responses:
            one.named = choose(one.response, self._target)
            one.response.done = not one.named
            one.response.spent += len(one.named)
            for step in set(one.named):
                prefix = one.prefixes[step]
                prefix.wanted += step not in one.asked
                one.asked.add(step)
                count = max(counts.get(prefix.prefix_id, 0), one.named.count(step))
                counts[prefix.prefix_id] = count
        return self._ask(counts)

    def receive(self, prefix: Prefix) -> list[Draw]:
        self._pending.discard(prefix.prefix_id)
        if self._pending:
            return []
        fresh: list[Known] = []
        for name, before in self._before.items():
            rolled = self.prefixes[name]
            drawn = rolled.rollouts[before:]
            fresh += [Known(rolled.token_ids + rollout.token_ids, rollout.solved) for rollout in drawn]
            rolled.counts = rolled.counted()
            if not rolled.token_ids:
                rolled.counts += self._problem.samples
                self._solved = rolled.counts.correct > 0
                self._rate_again(rolled.counts)
        self._mark_needed()
        for one in self._responses:
            one.response.learn(fresh)
            one.response.spent_tokens += sum(len(rollout.token_ids) for rollout in self._named_rollouts(one))
            one.named = []
            one.response.drawn = [len(prefix.rollouts) for prefix in one.prefixes]
        return self._round()

    def _named(self, one: _Adaptive) -> Iterator[tuple[Prefix, int]]:
        """Yield the draws that a response named in this round: the prefix, and the rollout's number."""
        taken: Counter[str] = Counter()
        for step in one.named:
            prefix = one.prefixes[step]
            yield prefix, self._before[prefix.prefix_id] + taken[prefix.prefix_id]
            taken[prefix.prefix_id] += 1

    def _named_rollouts(self, one: _Adaptive) -> Iterator[Rollout]:
        return (prefix.rollouts[number] for prefix, number in self._named(one))

    def _rate_again(self, counts: Counts) -> None:
        """Let the bare problem's rollouts say how often the policy solves it, before anything else is drawn."""
        for one in self._responses:
            one.response = Response(one.response.evidence, self._scores(one.logprobs, counts))
            one.response.relearn(self._sharpness or 0.0)

    def _mark_needed(self) -> None:
        """Count the round's draws that no response needed: it was certain before it came to them."""
        needed: set[tuple[str, int]] = set()
        for one in self._responses:
            posterior, alive = one.response.posterior.copy(), one.response.evidence.deepest_success
            for prefix, number in self._named(one):
                if one.response.certain(self._target, posterior, alive):
                    break
                needed.add((prefix.prefix_id, number))
                rollout = prefix.rollouts[number]
                known = Known(prefix.token_ids + rollout.token_ids, rollout.solved)
                place = shared_steps(one.negative.token_ids, one.steps.ends, known.token_ids)
                if place < len(one.steps.ends):
                    posterior.add([(place, known.solved)])
                    alive = max(alive, place) if known.solved else alive
        for name, before in self._before.items():
            prefix = self.prefixes[name]
            if prefix.token_ids:
                numbers = range(before, len(prefix.rollouts))
                prefix.unneeded += sum((name, number) not in needed for number in numbers)

    @property
    def done(self) -> bool:
        return not self._pending and all(one.response.done for one in self._responses)

    @property
    def most(self) -> int:
        drawn = sum(len(prefix.rollouts) for prefix in self.prefixes.values())
        if self.done and self._sharpness is not None:
            return drawn
        inner = [prefix for prefix in self.prefixes.values() if prefix.token_ids]
        return drawn + sum(self._target.rollouts - len(prefix.rollouts) for prefix in inner)

    def results(self) -> Iterator[CreditedResponse]:
        for one in self._responses:
            response, posterior = one.response, one.response.posterior
            bare = one.prefixes[0].counts or Counts()
            q = (self._q0(bare), *(None for _ in one.prefixes[1:]), 0.0)
            found = bool(self._solved)
            alive = (1.0, *posterior.alive()[1:]) if found else (0.0, *(None for _ in one.prefixes[1:]), 0.0)
            yield credited_response(
                self._problem,
                one.negative,
                one.steps,
                one.prefixes,
                q=q,
                alive=alive,
                certainty=posterior.certainty if found else None,
                solved=response.evidence.solved,
                failed=response.evidence.failed,
                pit=posterior.pit if found else None,
                reason=None if found else NEVER_SOLVED,
            )

    def _q0(self, counts: Counts) -> float | None:
        return best_of(counts.rollouts, counts.correct, self._best_of) if counts.rollouts >= self._best_of else None
