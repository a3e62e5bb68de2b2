"""Search the pits of one problem's wrong responses: which rollouts to draw next, and what came out.

A search knows nothing of engines. It names draws (a prefix, and how many more rollouts of it), and is told when they
are judged. Prefixes that several responses share are one prefix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from misstep.credit.adaptive import Response, Target, choose
from misstep.credit.block import NEVER_SOLVED, CreditedResponse, Prefix, prefix_id
from misstep.credit.estimators import Estimator, OrderName
from misstep.credit.evidence import Evidence, Known, shared_steps
from misstep.credit.posterior import SolvedRates, StepScores
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.steps import Steps
from misstep.credit.values import Counts, advantages, best_of

Draw = tuple[Prefix, int]
"""A prefix, and how many more rollouts of it to draw."""


class Search(Protocol):
    """The search over one problem's wrong responses."""

    prefixes: dict[str, Prefix]
    """All prefixes of these responses, by id."""

    def start(self) -> list[Draw]:
        """Return the first draws."""

    def receive(self, prefix: Prefix) -> list[Draw]:
        """Learn that the draws of a prefix are among its rollouts; return the next draws, often none yet. A prefix is
        not named again before its draws are received."""

    @property
    def done(self) -> bool: ...

    @property
    def most(self) -> int:
        """Rollouts drawn so far, and all that may still be needed."""

    def results(self) -> Iterator[CreditedResponse]:
        """Yield what was found, in the order of the problem's negatives."""


def prefixes_of(
    problem: CreditProblem, negative: SampledResponse, steps: Steps, known: dict[str, Prefix]
) -> list[Prefix]:
    """Return the prefixes of a response after 0, 1, ... L-1 steps, and add those that are new to ``known``."""
    found = []
    for step, end in enumerate((0, *steps.ends[:-1])):
        ids = negative.token_ids[:end]
        name = prefix_id(problem.problem_id, ids)
        found.append(known.setdefault(name, Prefix(name, problem, step, ids)))
    return found


def solved_problem(problem: CreditProblem, enough: int) -> bool | None:
    """Return whether the samples show that the policy can solve a problem; None if they are too few to say."""
    return problem.samples.correct > 0 if problem.samples.rollouts >= enough else None


@dataclass(slots=True)
class _Node:
    """A prefix and the responses that wait for it, or may still need it."""

    prefix: Prefix
    alive: bool | None = None
    """Whether Q > 0; None until it is known."""
    waiting: list[tuple[_Ordered, int]] = field(default_factory=list)
    searches: int = 0
    """Responses still searching that have this prefix."""


@dataclass(slots=True)
class _Ordered:
    """A response whose pit is searched in a fixed order."""

    negative: SampledResponse
    steps: Steps
    nodes: list[_Node]
    estimator: Estimator


class OrderedSearch:
    """Search in a fixed order (`misstep.credit.estimators`).

    Args:
        name: which order.
        problem: its negatives are searched.
        steps: of each negative.
        rollouts: per prefix, at most.
        best_of: K of the prover.
        correct: search its positives instead (`Estimator`).
    """

    def __init__(
        self,
        name: OrderName,
        problem: CreditProblem,
        steps: Sequence[Steps],
        rollouts: int,
        best_of: int,
        correct: bool = False,
    ) -> None:
        self._name, self._problem, self._rollouts, self._best_of = name, problem, rollouts, best_of
        self._correct = correct
        self.prefixes: dict[str, Prefix] = {}
        self._nodes: dict[str, _Node] = {}
        self._drawing: set[str] = set()
        responses = problem.positives if correct else problem.negatives
        self._responses = [self._open(response, cut) for response, cut in zip(responses, steps, strict=True)]

    def _open(self, negative: SampledResponse, steps: Steps) -> _Ordered:
        prefixes = prefixes_of(self._problem, negative, steps, self.prefixes)
        nodes = [self._nodes.setdefault(prefix.prefix_id, _Node(prefix)) for prefix in prefixes]
        for node in nodes:
            node.searches += 1
        known = solved_problem(self._problem, self._best_of)
        if known is not None:
            nodes[0].alive, nodes[0].prefix.counts = known, self._problem.samples
        return _Ordered(negative, steps, nodes, Estimator(self._name, len(steps.ends), self._correct))

    def start(self) -> list[Draw]:
        return [draw for response in self._responses for draw in self._serve(response, response.estimator.start())]

    def _serve(self, response: _Ordered, wanted: Sequence[int]) -> Iterator[Draw]:
        """Answer an estimator's requests from what is known, and draw for the others."""
        queue = deque(wanted)
        while queue:
            step = queue.popleft()
            node = response.nodes[step]
            node.prefix.wanted += 1
            if node.alive is not None:
                queue.extend(response.estimator.observe(step, node.alive))
                continue
            node.waiting.append((response, step))
            if len(node.waiting) == 1 and node.prefix.prefix_id not in self._drawing:
                self._drawing.add(node.prefix.prefix_id)
                yield self._draw(node.prefix)
        if response.estimator.done:
            for node in response.nodes:
                node.searches -= 1

    def _draw(self, prefix: Prefix) -> Draw:
        """Draw one rollout, which may end the prefix; all at once where their number must not depend on what comes
        out."""
        return prefix, self._rollouts if self._fixed(prefix) else 1

    def _fixed(self, prefix: Prefix) -> bool:
        return self._name == "full-scan" or not prefix.token_ids

    def receive(self, prefix: Prefix) -> list[Draw]:
        node = self._nodes[prefix.prefix_id]
        counts = prefix.counted()
        if not counts.correct and counts.rollouts < self._rollouts:
            return [self._draw(prefix)]
        # Samples that are too few to be used alone are still independent draws with the same success rate.
        prefix.counts = counts if prefix.token_ids else counts + self._problem.samples
        node.alive = prefix.counts.correct > 0
        waiting, node.waiting = node.waiting, []
        return [
            draw
            for response, step in waiting
            for draw in self._serve(response, response.estimator.observe(step, node.alive))
        ]

    @property
    def done(self) -> bool:
        return all(response.estimator.done for response in self._responses)

    @property
    def most(self) -> int:
        return sum(
            self._rollouts if node.alive is None and (node.searches or node.waiting) else len(node.prefix.rollouts)
            for node in self._nodes.values()
        )

    def results(self) -> Iterator[CreditedResponse]:
        for response in self._responses:
            estimator, steps = response.estimator, response.steps
            alive = tuple(estimator.alive.get(step) for step in range(estimator.steps + 1))
            q = (*(self._q(node) for node in response.nodes), float(self._correct))
            counts = [node.prefix.counts or node.prefix.counted() for node in response.nodes]
            yield CreditedResponse(
                problem_id=self._problem.problem_id,
                sample=response.negative.sample,
                token_ids=response.negative.token_ids,
                text=response.negative.text,
                steps=steps,
                prefix_ids=_names(self._problem, response.negative, [node.prefix for node in response.nodes]),
                q=q,
                advantages=tuple(advantages(q)),
                alive=tuple(None if known is None else float(known) for known in alive),
                solved=tuple(count.correct for count in counts),
                failed=tuple(count.rollouts - count.correct for count in counts),
                pit=estimator.pit,
                reason=None if estimator.alive[0] or self._correct else NEVER_SOLVED,
            )

    def _q(self, node: _Node) -> float | None:
        """Return the prover's value, where the number of draws did not depend on what came out: a prefix that ends at
        its first success has no unbiased estimate."""
        if node.alive is None or node.prefix.counts is None or not self._fixed(node.prefix):
            return None
        return best_of(node.prefix.counts.rollouts, node.prefix.counts.correct, self._best_of)


def _names(problem: CreditProblem, negative: SampledResponse, prefixes: Sequence[Prefix]) -> tuple[str, ...]:
    whole = prefix_id(problem.problem_id, negative.token_ids)
    return (*(prefix.prefix_id for prefix in prefixes), whole)


@dataclass(slots=True)
class _Adaptive:
    """A response whose pit is searched by its posterior."""

    negative: SampledResponse
    steps: Steps
    prefixes: list[Prefix]
    response: Response
    named: list[int] = field(default_factory=list)
    """The prefixes of its draws in the current round, in its order."""


class AdaptiveSearch:
    """Search by the posterior of each pit (`misstep.credit.adaptive`).

    It begins with a prior that takes all steps alike, and goes on by `sharpen` once the run's prior is known.

    Args:
        problem: its negatives are searched.
        steps: of each negative.
        logprobs: of each negative, the log-probability of each step, in nats.
        target: when a negative is done.
        best_of: if the problem has fewer samples than this, and none of them is known to be right, the bare problem is
            rolled out first.
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
        self._problem, self._target, self._best_of = problem, target, best_of
        self.prefixes: dict[str, Prefix] = {}
        self._rate = rates.of(problem.samples)
        self._solved = solved_problem(problem, best_of)
        self._responses = [
            self._open(negative, cut, scores)
            for negative, cut, scores in zip(problem.negatives, steps, logprobs, strict=True)
        ]
        self._sharpened = False
        self._pending: set[str] = set()
        self._before: dict[str, int] = {}
        """The rollouts that each prefix of this round had before it."""

    def _open(self, negative: SampledResponse, steps: Steps, logprobs: Sequence[float]) -> _Adaptive:
        prefixes = prefixes_of(self._problem, negative, steps, self.prefixes)
        if self._solved is not None:
            prefixes[0].counts = self._problem.samples
        scores = StepScores(logprobs, self._rate, self._target.rollouts)
        response = Response(Evidence(negative.token_ids, steps.ends), scores)
        response.learn([known for sample, known in self._problem.known if sample != negative.sample])
        return _Adaptive(negative, steps, prefixes, response)

    def start(self) -> list[Draw]:
        if self._solved is not None:
            return self._round()
        bare = next(prefix for prefix in self.prefixes.values() if not prefix.token_ids)
        return self._ask({bare.prefix_id: self._target.rollouts})

    def draws(self) -> Iterator[tuple[StepScores, Sequence[float]]]:
        """Yield, for each response, what `fit_sharpness` needs."""
        for one in self._responses:
            yield one.response.scores, one.response.posterior.likelihoods()

    def sharpen(self, sharpness: float) -> list[Draw]:
        """Go on with the run's prior; return the next draws."""
        self._sharpened = True
        for one in self._responses:
            one.response.posterior.expect(one.response.scores.prior(sharpness))
        return self.start() if self._solved is None else self._round()

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
                prefix.wanted += 1
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
        self._mark_needed()
        for one in self._responses:
            one.response.learn(fresh)
            one.response.drawn = [len(prefix.rollouts) for prefix in one.prefixes]
        return self._round()

    def _mark_needed(self) -> None:
        """Count the round's draws that no response needed: it was certain before it came to them."""
        needed: set[tuple[str, int]] = set()
        for one in self._responses:
            posterior, alive = one.response.posterior.copy(), one.response.evidence.deepest_success
            taken: dict[str, int] = {}
            for step in one.named:
                if one.response.certain(self._target, posterior, alive):
                    break
                prefix = one.prefixes[step]
                number = self._before[prefix.prefix_id] + taken.get(prefix.prefix_id, 0)
                taken[prefix.prefix_id] = taken.get(prefix.prefix_id, 0) + 1
                needed.add((prefix.prefix_id, number))
                rollout = prefix.rollouts[number]
                one.response.spent_tokens += len(rollout.token_ids)
                known = Known(prefix.token_ids + rollout.token_ids, rollout.solved)
                place = shared_steps(one.negative.token_ids, one.steps.ends, known.token_ids)
                if place < len(one.steps.ends):
                    posterior.add([(place, known.solved)])
                    alive = max(alive, place) if known.solved else alive
            one.named = []
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
        if self.done and self._sharpened:
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
            yield CreditedResponse(
                problem_id=self._problem.problem_id,
                sample=one.negative.sample,
                token_ids=one.negative.token_ids,
                text=one.negative.text,
                steps=one.steps,
                prefix_ids=_names(self._problem, one.negative, one.prefixes),
                q=q,
                advantages=tuple(advantages(q)),
                alive=alive,
                certainty=posterior.certainty if found else None,
                solved=tuple(response.evidence.solved),
                failed=tuple(response.evidence.failed),
                pit=posterior.pit if found else None,
                reason=None if found else NEVER_SOLVED,
            )

    def _q0(self, counts: Counts) -> float | None:
        return best_of(counts.rollouts, counts.correct, self._best_of) if counts.rollouts >= self._best_of else None
