"""Search the pits of one problem's responses prefix by prefix, in a fixed order (`misstep.credit.estimators`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from misstep.credit.block import NEVER_SOLVED, CreditedResponse, Prefix
from misstep.credit.estimators import Estimator, OrderName
from misstep.credit.searches import Draw, credited_response, prefixes_of, solved_problem
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.steps import Steps
from misstep.credit.values import best_of


@dataclass(slots=True)
class _Node:
    """A prefix and the responses that wait for it, or may still need it."""

    prefix: Prefix
    alive: bool | None = None
    """Whether Q > 0; None until it is known."""
    waiting: list[tuple[_Ordered, int]] = field(default_factory=list)
    begun: bool = False
    """Whether rollouts of it were named."""
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
        self._samples = problem.samples_for_positives if correct else problem.samples
        self.prefixes: dict[str, Prefix] = {}
        self._nodes: dict[str, _Node] = {}
        responses = problem.positives if correct else problem.negatives
        self._responses = [self._open(response, cut) for response, cut in zip(responses, steps, strict=True)]

    def _open(self, negative: SampledResponse, steps: Steps) -> _Ordered:
        prefixes = prefixes_of(self._problem, negative, steps, self.prefixes)
        nodes = [self._nodes.setdefault(prefix.prefix_id, _Node(prefix)) for prefix in prefixes]
        for node in nodes:
            node.searches += 1
        known = solved_problem(self._samples, self._best_of)
        if known is not None:
            nodes[0].alive, nodes[0].prefix.counts = known, self._samples
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
            if not node.begun:
                node.begun = True
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
        prefix.counts = counts if prefix.token_ids else counts + self._samples
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
            estimator = response.estimator
            alive = tuple(estimator.alive.get(step) for step in range(estimator.steps + 1))
            q = (*(self._q(node) for node in response.nodes), float(self._correct))
            counts = [node.prefix.counts or node.prefix.counted() for node in response.nodes]
            yield credited_response(
                self._problem,
                response.negative,
                response.steps,
                [node.prefix for node in response.nodes],
                q=q,
                alive=tuple(None if known is None else float(known) for known in alive),
                solved=[count.correct for count in counts],
                failed=[count.rollouts - count.correct for count in counts],
                pit=estimator.pit,
                reason=None if estimator.alive[0] or self._correct else NEVER_SOLVED,
            )

    def _q(self, node: _Node) -> float | None:
        """Return the prover's value, where the number of draws did not depend on what came out: a prefix that ends at
        its first success has no unbiased estimate."""
        if node.alive is None or node.prefix.counts is None or not self._fixed(node.prefix):
            return None
        return best_of(node.prefix.counts.rollouts, node.prefix.counts.correct, self._best_of)
