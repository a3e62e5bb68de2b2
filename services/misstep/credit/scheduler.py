"""Credit a block of problems: estimators ask for prefixes, an engine continues them, a verifier judges.

Rollouts of one prefix use seeds made from the problem, the prefix and the rollout number, so they are the same for
every estimator, in any order and after any restart. A prefix that several negatives of a problem share is rolled out
once. Nothing waits for a whole negative or a whole round: each result may lead to new requests while the engine still
works on others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from misstep import telemetry
from misstep.credit.block import NEVER_SOLVED, CreditedBlock, CreditedResponse, Prefix, prefix_id
from misstep.credit.estimators import Estimator
from misstep.credit.pieces import TokenPieces
from misstep.credit.rollouts import Judge, RolloutJudge
from misstep.credit.selection import CreditProblem, Negative
from misstep.credit.steps import StepCutter, Steps
from misstep.credit.values import Counts, advantages, best_of
from misstep.generation.engine import Completion, Engine, Request, Usage
from misstep.generation.seeds import sample_seed
from misstep.plan.params import CreditParams
from misstep.terms.verdict import Verdict

OnProgress = Callable[[int, int], None]
"""Called after each prefix with the rollouts done, and the most that the block may need in all."""


@dataclass(slots=True)
class _Node:
    """A prefix and the negatives that wait for it, or may still need it."""

    prefix: Prefix
    waiting: list[tuple[_Search, int]] = field(default_factory=list)
    submitted: bool = False
    searches: int = 0
    """Negatives still searching that have this prefix."""


@dataclass(slots=True)
class _Search:
    """A negative whose pit is being searched."""

    problem: CreditProblem
    negative: Negative
    steps: Steps
    nodes: list[_Node]
    """After 0, 1, ... L-1 steps."""
    estimator: Estimator


class Scheduler:
    """Credits blocks, one after another, with one engine.

    Args:
        params: the stage's parameters; ``rollouts`` must be at least ``best_of``.
        engine: the policy.
        judge: the verifier.
        on_progress: called after each prefix.
    """

    def __init__(
        self, params: CreditParams, engine: Engine, judge: Judge, on_progress: OnProgress | None = None
    ) -> None:
        self._params = params
        self._engine = engine
        self._on_progress = on_progress
        stop = params.decoding.stop
        pieces = TokenPieces(engine.tokenizer, engine.end_ids)
        self._judge = RolloutJudge(pieces, judge, stop)
        self._cutter = StepCutter(pieces, params.step_rule, params.max_steps, stop)
        self._nodes: dict[str, _Node] = {}
        self._done = self._possible = 0

    @property
    def usage(self) -> Usage:
        """Prompt tokens of all rollouts so far, and how many of them were cached."""
        return self._engine.usage

    def credit(self, problems: Sequence[CreditProblem]) -> CreditedBlock:
        """Credit every negative of a block."""
        self._nodes = {}
        self._done = self._possible = 0
        searches = [self._open(problem, negative) for problem in problems for negative in problem.negatives]
        for search in searches:
            self._serve(search, search.estimator.start())
        for request, completions in self._engine.results():
            self._receive(self._nodes[request.request_id], completions)
        assert all(search.estimator.done for search in searches), "the engine lost a request"
        place = {problem.problem_id: n for n, problem in enumerate(problems)}
        known = [node.prefix for node in self._nodes.values() if node.prefix.counts is not None]
        known.sort(key=lambda p: (place[p.problem.problem_id], len(p.token_ids), p.token_ids))
        return CreditedBlock([self._close(search) for search in searches], known)

    def _open(self, problem: CreditProblem, negative: Negative) -> _Search:
        steps = self._cutter.cut(negative.token_ids)
        nodes = [self._node(problem, step, negative.token_ids[:end]) for step, end in enumerate((0, *steps.ends[:-1]))]
        for node in nodes:
            node.searches += 1
            self._possible += node.searches == 1 and node.prefix.counts is None
        return _Search(problem, negative, steps, nodes, Estimator(self._params.estimator, len(steps.ends)))

    def _node(self, problem: CreditProblem, step: int, token_ids: tuple[int, ...]) -> _Node:
        name = prefix_id(problem.problem_id, token_ids)
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node(Prefix(name, problem, step, token_ids))
            if not token_ids and problem.samples.rollouts >= self._params.best_of:
                node.prefix.counts = problem.samples
        return node

    def _serve(self, search: _Search, wanted: Sequence[int]) -> None:
        """Answer an estimator's requests from known values, and submit the others."""
        queue = deque(wanted)
        while queue:
            step = queue.popleft()
            node = search.nodes[step]
            node.prefix.wanted += 1
            if node.prefix.counts is not None:
                queue.extend(search.estimator.observe(step, self._q(node.prefix.counts)))
                continue
            node.waiting.append((search, step))
            if not node.submitted:
                node.submitted = True
                self._engine.submit(self._request(node.prefix))
        if search.estimator.done:
            self._forget(search)

    def _request(self, prefix: Prefix) -> Request:
        problem = prefix.problem
        names = (problem.problem_id, prefix.prefix_id)
        return Request(
            request_id=prefix.prefix_id,
            prompt_ids=(*problem.prompt_ids, *prefix.token_ids),
            seeds=[sample_seed(self._params.seed, *names, n) for n in range(self._params.rollouts)],
            max_new_tokens=self._params.decoding.max_new_tokens - len(prefix.token_ids),
        )

    def _receive(self, node: _Node, completions: Sequence[Completion]) -> None:
        """Judge one prefix's rollouts and continue the negatives that wait for it."""
        prefix = node.prefix
        prefix.rollouts = self._judge.rollouts(prefix, completions)
        telemetry.ROLLOUTS.inc(len(prefix.rollouts))
        telemetry.count_verdicts(rollout.verdict for rollout in prefix.rollouts)
        correct = sum(rollout.solved for rollout in prefix.rollouts)
        wrong = sum(rollout.verdict is Verdict.WRONG for rollout in prefix.rollouts)
        counts = Counts(len(prefix.rollouts), correct, len(prefix.rollouts) - correct - wrong)
        # Samples that are too few to be used alone are still independent draws with the same success rate.
        prefix.counts = counts if prefix.token_ids else counts + prefix.problem.samples
        self._done += 1
        waiting, node.waiting = node.waiting, []
        for search, step in waiting:
            self._serve(search, search.estimator.observe(step, self._q(prefix.counts)))
        if self._on_progress:
            self._on_progress(self._done * self._params.rollouts, self._possible * self._params.rollouts)

    def _forget(self, search: _Search) -> None:
        """Subtract the prefixes that only this negative could still have requested from the block's upper bound."""
        for node in search.nodes:
            node.searches -= 1
            self._possible -= not node.searches and not node.submitted and node.prefix.counts is None

    def _q(self, counts: Counts) -> float:
        return best_of(counts.rollouts, counts.correct, self._params.best_of)

    def _close(self, search: _Search) -> CreditedResponse:
        estimator = search.estimator
        q = tuple(estimator.q.get(step) for step in range(estimator.steps + 1))
        whole = prefix_id(search.problem.problem_id, search.negative.token_ids)
        return CreditedResponse(
            problem_id=search.problem.problem_id,
            sample=search.negative.sample,
            token_ids=search.negative.token_ids,
            text=search.negative.text,
            steps=search.steps,
            prefix_ids=(*(node.prefix.prefix_id for node in search.nodes), whole),
            q=q,
            advantages=tuple(advantages(q)),
            pit=estimator.pit,
            reason=None if estimator.pit is not None else NEVER_SOLVED,
        )
