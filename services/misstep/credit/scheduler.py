"""Credit blocks of problems with one engine: searches name rollouts, the engine draws them, a verifier judges them.

Rollouts of one prefix use seeds made from the problem, the prefix and the rollout number, so they are the same for
every estimator, in any order and after any restart. Nothing waits for a whole block: each result may lead to new draws
while the engine still works on others, and a block may begin before the one before it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

from misstep import telemetry
from misstep.credit.adaptive import Target
from misstep.credit.adaptive_search import AdaptiveSearch
from misstep.credit.block import CreditedBlock, Prefix
from misstep.credit.ordered_search import OrderedSearch
from misstep.credit.passes import Pass
from misstep.credit.pieces import TokenPieces
from misstep.credit.posterior import SolvedRates, fit_sharpness
from misstep.credit.rollouts import Judge, RolloutJudge
from misstep.credit.searches import Draw, Search, solved_problem
from misstep.credit.selection import CreditProblem
from misstep.credit.steps import StepCutter, Steps
from misstep.generation.engine import Completion, Engine, Request, Usage
from misstep.generation.seeds import sample_seed
from misstep.plan.params import CreditParams
from misstep.terms.keyed import keyed_hash

PILOT = 32
"""Negatives of a block that are searched without the help of log-probabilities, to see how much these say."""
LEAST_LOGPROB = -100.0
"""Of a step, in nats."""
OnProgress = Callable[[int, int], None]
"""Called after each prefix with the rollouts done, and the most that the block may need in all."""


@dataclass(slots=True, eq=False)
class OpenBlock:
    """A block whose rollouts have begun."""

    problems: Sequence[CreditProblem]
    how: Pass
    searches: list[Search] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    """Places in ``searches`` of those that wait for rollouts."""
    pilot: list[int] = field(default_factory=list)
    """Places of the searches that run first: the prior of all is fitted on them."""
    waiting: bool = False
    """Whether the others wait for the prior."""
    in_flight: int = 0
    """Rollouts that the engine still has to draw."""
    done: int = 0
    """Rollouts drawn."""
    most: int = 0
    """Rollouts drawn, and all that may still be needed."""
    dropped: bool = False
    """Nobody will finish it: what the engine still draws for it is ignored."""


class Scheduler:
    """Credits blocks with one engine.

    Args:
        params: the stage's parameters; ``rollouts`` must be at least ``best_of``.
        engine: the policy.
        judge: the verifier.
        on_progress: called whenever draws of a prefix are judged.
        rates: the success rates of the run's problems, for the estimator ``adaptive``.
    """

    def __init__(
        self,
        params: CreditParams,
        engine: Engine,
        judge: Judge,
        on_progress: OnProgress | None = None,
        rates: SolvedRates | None = None,
    ) -> None:
        self._params = params
        self._engine = engine
        self._on_progress = on_progress
        self._rates = rates or SolvedRates()
        stop = params.decoding.stop
        pieces = TokenPieces(engine.tokenizer, engine.end_ids)
        self._judge = RolloutJudge(pieces, judge, stop)
        self._cutter = StepCutter(pieces, params.step_rule, params.max_steps, stop)
        self._finishing: Sequence[OpenBlock] = ()
        self._asked: dict[tuple[str, str], tuple[OpenBlock, int, Prefix]] = {}

    @property
    def usage(self) -> Usage:
        """Prompt tokens of all rollouts so far, and how many of them were cached."""
        return self._engine.usage

    @property
    def overlaps(self) -> bool:
        """Return whether a block may begin before the one before it is finished (`Engine.overlaps`)."""
        return self._engine.overlaps

    def credit(self, problems: Sequence[CreditProblem]) -> CreditedBlock:
        """Credit every negative of a block."""
        return self.finish([self.begin(problems)])[0]

    def begin(self, problems: Sequence[CreditProblem], how: Pass | None = None) -> OpenBlock:
        """Queue the first rollouts of a block; by default its negatives are credited by the stage's estimator."""
        block = OpenBlock(problems, how or Pass(self._params.estimator))
        block.searches += self._searches(block)
        block.most = sum(search.most for search in block.searches)
        first: Sequence[int] = range(len(block.searches))
        if block.how.estimator == "adaptive":
            block.waiting = True
            first = block.pilot = pilot_of(problems, self._params.best_of)
        for place in first:
            self._draw(block, place, block.searches[place].start())
        self._go_on(block)
        return block

    def _go_on(self, block: OpenBlock) -> None:
        """Once the pilot is done, fit the prior on it and start all searches with that."""
        if block.waiting and not block.running:
            found = [search for search in block.searches if isinstance(search, AdaptiveSearch)]
            sharpness = fit_sharpness(chain.from_iterable(found[place].draws() for place in block.pilot))
            block.waiting = False
            for place, search in enumerate(found):
                before = search.most
                self._draw(block, place, search.sharpen(sharpness))
                block.most += search.most - before

    def finish(self, blocks: Sequence[OpenBlock], when_idle: Callable[[], None] | None = None) -> list[CreditedBlock]:
        """Read results until these blocks are done.

        Args:
            when_idle: called when they do not fill the engine any more, to queue other work.
        """
        self._finishing = blocks
        if any(block.running for block in blocks):
            for request, completions in self._engine.results():
                self._receive(request, completions)
                if not any(block.running for block in blocks):
                    break
                if when_idle and sum(block.in_flight for block in blocks) <= self._engine.batch_rows:
                    when_idle()
        assert not any(block.running for block in blocks), "the engine lost a request"
        return [_credited(block) for block in blocks]

    def _searches(self, block: OpenBlock) -> Iterable[Search]:
        params, how = self._params, block.how
        steps = [
            [each.steps or self._cutter.cut(each.token_ids) for each in how.responses(problem)]
            for problem in block.problems
        ]
        if how.estimator != "adaptive":
            for problem, cuts in zip(block.problems, steps, strict=True):
                yield OrderedSearch(how.estimator, problem, cuts, params.rollouts, params.best_of, how.correct)
            return
        assert params.target_error is not None
        target = Target(params.target_error, params.rollouts, params.budget, params.budget_tokens)
        texts = [(p.prompt_ids, each.token_ids) for p in block.problems for each in how.responses(p)]
        scored = iter(self._engine.logprobs(texts))
        for problem, cuts in zip(block.problems, steps, strict=True):
            logprobs = [_by_step(next(scored), cut) for cut in cuts]
            yield AdaptiveSearch(problem, cuts, logprobs, target, params.best_of, self._rates)

    def _draw(self, block: OpenBlock, place: int, draws: Sequence[Draw]) -> None:
        for prefix, count in draws:
            self._asked[block.how.label, prefix.prefix_id] = (block, place, prefix)
            block.in_flight += count
            self._engine.submit(self._request(prefix, count, block.how.label))
        if block.searches[place].done:
            block.running.discard(place)
        else:
            block.running.add(place)

    def _request(self, prefix: Prefix, count: int, label: str) -> Request:
        problem = prefix.problem
        names = (problem.problem_id, prefix.prefix_id, *([label] if label else []))
        first = len(prefix.rollouts)
        return Request(
            request_id=(label, prefix.prefix_id),
            prompt_ids=(*problem.prompt_ids, *prefix.token_ids),
            seeds=[sample_seed(self._params.seed, *names, n) for n in range(first, first + count)],
            max_new_tokens=self._params.decoding.max_new_tokens - len(prefix.token_ids),
        )

    def _receive(self, request: Request, completions: Sequence[Completion]) -> None:
        """Judge new rollouts of a prefix, and continue its search."""
        block, place, prefix = self._asked.pop(request.request_id)
        if block.dropped:
            return
        search = block.searches[place]
        rollouts = self._judge.rollouts(prefix, completions)
        telemetry.ROLLOUTS.inc(len(rollouts))
        telemetry.count_verdicts(rollout.verdict for rollout in rollouts)
        block.in_flight -= len(rollouts)
        block.done += len(rollouts)
        block.most -= search.most
        prefix.rollouts += rollouts
        draws = search.receive(prefix)
        block.most += search.most
        self._draw(block, place, draws)
        self._go_on(block)
        if self._on_progress:
            self._on_progress(sum(b.done for b in self._finishing), sum(b.most for b in self._finishing))


def pilot_of(problems: Sequence[CreditProblem], best_of: int) -> list[int]:
    """Return the places of the problems whose negatives are searched first: `PILOT` negatives or a few more, chosen by
    a hash of the problems. Problems that the policy never solved teach nothing."""
    solvable = [
        place for place, problem in enumerate(problems) if solved_problem(problem.samples, best_of) is not False
    ]
    order = sorted(solvable, key=lambda place: keyed_hash("pilot", problems[place].problem_id))
    counts = accumulate(len(problems[place].negatives) for place in order)
    return [place for place, upto in zip(order, counts, strict=True) if upto - len(problems[place].negatives) < PILOT]


def _credited(block: OpenBlock) -> CreditedBlock:
    place = {problem.problem_id: n for n, problem in enumerate(block.problems)}
    prefixes = (prefix for search in block.searches for prefix in search.prefixes.values())
    known = [prefix for prefix in prefixes if prefix.counts is not None]
    known.sort(key=lambda p: (place[p.problem.problem_id], len(p.token_ids), p.token_ids))
    return CreditedBlock([found for search in block.searches for found in search.results()], known)


def _by_step(logprobs: Sequence[float], steps: Steps) -> list[float]:
    """Sum the tokens' log-probabilities over each step. A model may rule a token out that another writer used: a step
    is never less likely than `LEAST_LOGPROB`, and neither is one whose value is not a number."""
    begins = (0, *steps.ends[:-1])
    sums = (sum(logprobs[begin:end]) for begin, end in zip(begins, steps.ends, strict=True))
    return [value if value >= LEAST_LOGPROB else LEAST_LOGPROB for value in sums]
