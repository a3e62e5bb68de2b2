"""Credit on stars, where every success rate is known exactly."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from misstep.credit.adaptive import Response, Target
from misstep.credit.adaptive_search import AdaptiveSearch
from misstep.credit.block import NEVER_SOLVED, CreditedBlock
from misstep.credit.evidence import Evidence, Known
from misstep.credit.passes import Pass
from misstep.credit.posterior import StepScores
from misstep.credit.scheduler import PILOT, OpenBlock, Scheduler, pilot_of
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.values import Counts, best_of
from misstep.terms.verdict import Verdict
from tests.credit.star import NEWLINE, Star, StarEngine, credit_params, judge, star_problem, text_of

STARS = [
    Star(odds=(0.4, 0.3, 0.3), length=4),
    Star(odds=(0.2, 0.8), length=5),
    Star(odds=(0.6, 0.2, 0.2), length=3),
]
SLIPPERY = Star(odds=(0.5, 0.25, 0.25), length=4, slip=0.15)
ORDERED = ["full-scan", "sequential", "bisection"]
ESTIMATORS = [*ORDERED, "adaptive"]


def credit(problems, stars, order_seed=None, progress=None, engine=None, **changes):
    engine = engine or StarEngine(stars, order_seed=order_seed)
    block = Scheduler(credit_params(**changes), engine, judge, progress).credit(problems)
    return block, engine


def lost_walks(number):
    """All walks of a star that take a wrong arm at once and stay there."""
    star = STARS[number]
    return star_problem(number, star, [star.walk(*[arm] * star.length) for arm in range(1, len(star.odds))])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_pit_of_a_walk_is_its_first_wrong_arm(estimator):
    """Without slips Q is exactly 0 from the wrong step on; 40 rollouts miss odds of 0.2 once in 7,500
    times."""
    block, _ = credit([lost_walks(number) for number in range(3)], STARS, estimator=estimator)
    assert [negative.pit for negative in block.negatives] == [1] * 5
    assert all(negative.reason is None for negative in block.negatives)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_the_pit_of_a_walk_that_slips_is_where_it_slips(estimator, turn):
    """The policy never slips by itself, so the slip is the first prefix without hope; once on the goal arm Q
    is 1."""
    star = STARS[0]
    walk = star.walk(*[0] * (turn - 1), *[1] * (star.length - turn + 1))
    block, _ = credit([star_problem(0, star, [walk])], STARS, estimator=estimator)
    negative = block.negatives[0]
    assert negative.pit == turn
    assert negative.alive[turn] <= 0.02
    assert negative.alive[turn - 1] >= 0.98
    if estimator == "full-scan":
        assert negative.q[turn] == 0
        assert negative.q[turn - 1] == (best_of(16, 5, 5) if turn == 1 else 1.0)
        assert negative.advantages[turn - 1] == -negative.q[turn - 1]
    else:
        assert negative.q == (best_of(16, 5, 5), *[None] * star.length, 0.0)


def test_values_agree_with_the_exact_ones():
    """The rate of each prefix is within 4.5 standard errors of the exact one (all 15 at once: p below
    1e-4)."""
    walks = [SLIPPERY.walk(0, 0, 1, 1), SLIPPERY.walk(1, 1, 2, 2), SLIPPERY.walk(2, 0, 0, 1)]
    block, _ = credit([star_problem(0, SLIPPERY, walks, Counts())], [SLIPPERY], rollouts=2000, best_of=1)
    assert len(block.prefixes) > 10
    for prefix in block.prefixes:
        exact = SLIPPERY.success(prefix.token_ids)
        error = math.sqrt(max(exact * (1 - exact), 1e-9) / 2000)
        assert abs(prefix.counts.correct / 2000 - exact) <= 4.5 * error + 1e-12


def test_the_prover_is_estimated_without_bias():
    """The mean of best-of-5 from 8 rollouts over 500 seeds is within 4 standard errors of 1 - (1-p)^5."""
    walk = SLIPPERY.walk(1, 1, 2, 2)
    values = [
        credit([star_problem(0, SLIPPERY, [walk])], [SLIPPERY], rollouts=8, seed=seed)[0].negatives[0].q[1]
        for seed in range(500)
    ]
    exact = 1 - (1 - SLIPPERY.success(walk[:2])) ** 5
    mean = sum(values) / 500
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 499 / 500)
    assert abs(mean - exact) < 4 * spread
    assert spread < 0.02


def all_walks(star):
    arms = range(len(star.odds))
    walks = [star.walk(*[a] * first, *[b] * (star.length - first)) for a in arms for b in arms for first in (1, 2, 3)]
    return [walk for walk in dict.fromkeys(walks) if walk[-2] != star.walk(*[0] * star.length)[-2]]


@pytest.mark.parametrize("estimator", ["sequential", "bisection"])
@pytest.mark.parametrize("order_seed", [None, 3])
def test_estimators_and_orders_share_every_rollout(estimator, order_seed):
    problem = star_problem(0, SLIPPERY, all_walks(SLIPPERY))
    scan, _ = credit([problem], [SLIPPERY], rollouts=6)
    block, _ = credit([problem], [SLIPPERY], order_seed, rollouts=6, estimator=estimator)
    reference = {prefix.prefix_id: prefix.rollouts for prefix in scan.prefixes}
    assert len(block.prefixes) <= len(scan.prefixes)
    for prefix in block.prefixes:
        drawn = len(prefix.rollouts)
        assert prefix.rollouts == reference[prefix.prefix_id][:drawn]
        assert not prefix.token_ids or drawn == 6 or any(rollout.solved for rollout in prefix.rollouts)
    for ours, full in zip(block.negatives, scan.negatives, strict=True):
        if estimator == "sequential":
            assert ours.pit == full.pit
        assert ours.alive[ours.pit] == 0 < ours.alive[ours.pit - 1]
        assert all(alive is None or alive == (q > 0) for alive, q in zip(ours.alive, full.q, strict=True))


@pytest.mark.parametrize("estimator", ["sequential", "bisection", "adaptive"])
def test_the_order_of_results_changes_nothing(estimator):
    problem = star_problem(0, SLIPPERY, all_walks(SLIPPERY))
    blocks = [credit([problem], [SLIPPERY], seed, rollouts=6, estimator=estimator)[0] for seed in (None, 1, 2)]
    assert blocks[0] == blocks[1] == blocks[2]


def test_a_shared_prefix_is_credited_once():
    walks = all_walks(SLIPPERY)
    block, engine = credit([star_problem(0, SLIPPERY, walks)], [SLIPPERY])
    prompts = [tuple(request.prompt_ids) for request in engine.requests]
    assert len(set(prompts)) == len(prompts)
    rolled = [prefix for prefix in block.prefixes if prefix.rollouts]
    assert len(rolled) == len(prompts) < sum(prefix.wanted for prefix in rolled)
    assert sum(prefix.wanted for prefix in rolled) == len(walks) * SLIPPERY.length  # the answer line is a step too


def test_equal_prefixes_of_two_problems_are_two():
    walk = STARS[0].walk(1, 1, 1, 1)
    problems = [star_problem(number, STARS[0], [walk]) for number in (0, 1)]
    block, engine = credit(problems, [STARS[0]] * 2)
    assert len(engine.requests) == 2 * STARS[0].length
    first, second = (negative.prefix_ids for negative in block.negatives)
    assert not set(first) & set(second)
    seeds = [seed for request in engine.requests for seed in request.seeds]
    assert len(set(seeds)) == len(seeds)


def test_invariants_of_a_full_scan():
    block, _ = credit([star_problem(0, SLIPPERY, all_walks(SLIPPERY))], [SLIPPERY])
    for negative in block.negatives:
        assert negative.q[-1] == 0
        assert None not in negative.q
        assert math.fsum(negative.advantages) == pytest.approx(negative.q[-1] - negative.q[0], abs=1e-12)
        assert negative.steps.ends[-1] == len(negative.token_ids)
        assert "".join(negative.steps.texts) == negative.text
        assert negative.pit is not None
        counts = {prefix.prefix_id: prefix.counts for prefix in block.prefixes}
        for name, q in zip(negative.prefix_ids[:-1], negative.q[:-1], strict=True):
            assert q == best_of(counts[name].rollouts, counts[name].correct, 5)


def test_the_bare_problem_reuses_the_samples():
    block, engine = credit([star_problem(0, STARS[0], [STARS[0].walk(1, 1, 1, 1)], Counts(15, 3, 2))], STARS)
    assert all(len(request.prompt_ids) > 1 for request in engine.requests)
    assert block.negatives[0].q[0] == best_of(15, 3, 5)
    assert block.prefixes[0].counts == Counts(15, 3, 2)
    assert block.prefixes[0].rollouts == []


def test_too_few_samples_are_pooled_with_rollouts():
    problem = star_problem(0, STARS[0], [STARS[0].walk(1, 1, 1, 1)], Counts(3, 1, 1))
    block, engine = credit([problem], STARS, rollouts=6)
    assert tuple(engine.requests[0].prompt_ids) == (0,)
    bare = block.prefixes[0]
    solved = sum(rollout.solved for rollout in bare.rollouts)
    assert bare.counts == Counts(9, 1 + solved, 1)
    assert block.negatives[0].q[0] == best_of(9, 1 + solved, 5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_problem_never_solved_costs_no_rollout(estimator):
    problem = star_problem(0, STARS[0], [STARS[0].walk(1, 1, 1, 1)], Counts(15, 0, 0))
    block, engine = credit([problem], STARS, estimator=estimator)
    assert engine.requests == []
    negative = block.negatives[0]
    assert (negative.pit, negative.reason) == (None, NEVER_SOLVED)
    assert negative.q == (0.0, *[None] * STARS[0].length, 0.0)
    assert negative.alive == (0.0, *[None] * STARS[0].length, 0.0)
    assert negative.advantages == (None,) * (STARS[0].length + 1)


def test_a_cut_off_rollout_is_unknown_and_the_budget_counts_the_prefix():
    star = STARS[2]  # a whole walk has 9 tokens
    problem = star_problem(0, star, [star.walk(1, 1, 1)])
    decoding = credit_params().decoding.model_copy(update={"max_new_tokens": 9})
    block, engine = credit([problem], [star], decoding=decoding)
    assert [request.max_new_tokens for request in engine.requests] == [9 - 2 * n for n in (1, 2, 3)]
    assert all(prefix.counts.unknown == 0 for prefix in block.prefixes)

    short = decoding.model_copy(update={"max_new_tokens": 8})
    block, _ = credit([problem], [star], decoding=short)
    for prefix in block.prefixes[1:]:
        assert prefix.counts == Counts(40, 0, 40)
        assert {rollout.finish_reason for rollout in prefix.rollouts} == {"length"}
        assert {rollout.verdict for rollout in prefix.rollouts} == {Verdict.UNPARSABLE}


def test_rollout_text_continues_the_prefix():
    block, _ = credit([star_problem(0, STARS[0], [STARS[0].walk(0, 0, 1, 1)])], STARS)
    prefix = block.prefixes[2]
    assert prefix.token_ids[-1] == NEWLINE
    assert prefix.rollouts[0].text == "2\n3\n#### 3"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_progress_never_passes_what_is_expected(estimator):
    seen: list[tuple[int, int]] = []
    problem = star_problem(0, SLIPPERY, all_walks(SLIPPERY))
    _, engine = credit(
        [problem], [SLIPPERY], 5, lambda done, most: seen.append((done, most)), rollouts=6, estimator=estimator
    )
    sizes = [after - before for (before, _), (after, _) in pairwise([(0, 0), *seen])]
    assert Counter(sizes) == Counter(len(request.seeds) for request in engine.requests)
    assert all(done <= most for done, most in seen)
    assert [most for _, most in seen] == sorted((most for _, most in seen), reverse=True)
    assert seen[-1][0] == seen[-1][1]


def test_blocks_run_one_after_the_other_on_one_scheduler():
    engine = StarEngine(STARS)
    scheduler = Scheduler(credit_params(), engine, judge)
    both = [scheduler.credit([lost_walks(number)]) for number in (0, 1)]
    together, _ = credit([lost_walks(0), lost_walks(1)], STARS)
    assert both[0].negatives + both[1].negatives == together.negatives
    assert scheduler.credit([]) == CreditedBlock([], [])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_block_may_begin_while_the_one_before_it_runs(estimator):
    """Results are those of blocks one after the other, and the upcoming block begins once the first one leaves rows of
    the engine free."""
    blocks = [[star_problem(number, SLIPPERY, all_walks(SLIPPERY)[:6])] for number in (0, 1)]
    params = credit_params(estimator=estimator, rollouts=6)
    alone = [Scheduler(params, StarEngine([SLIPPERY] * 2), judge).credit(block) for block in blocks]
    scheduler = Scheduler(params, StarEngine([SLIPPERY] * 2, order_seed=1), judge)
    opened: list[OpenBlock] = []

    def begin() -> None:
        if not opened:
            opened.append(scheduler.begin(blocks[1]))

    (first,) = scheduler.finish([scheduler.begin(blocks[0])], begin)
    assert len(opened) == 1
    (second,) = scheduler.finish(opened)
    assert [first, second] == alone


def test_an_audit_and_positives_run_beside_the_negatives():
    """Passes of one block share the engine, and none changes another's rollouts."""
    star = SLIPPERY
    right = star.walk(*[0] * star.length)
    problem = replace(
        star_problem(0, star, all_walks(star)[:4]), positives=(SampledResponse(20, right, text_of(right)),)
    )
    params = credit_params(rollouts=6, estimator="sequential")
    passes = [Pass("sequential"), Pass("full-scan", "positives", correct=True), Pass("full-scan", "audit 1")]

    def run(chosen: list[Pass]) -> list[CreditedBlock]:
        scheduler = Scheduler(params, StarEngine([star], order_seed=2), judge)
        return scheduler.finish([scheduler.begin([problem], how) for how in chosen])

    together = run(passes)
    assert together == [run([how])[0] for how in passes]
    negatives, positives, audit = together
    assert [found.sample for found in positives.negatives] == [20]
    assert positives.negatives[0].q[-1] == 1
    rollouts = [{rollout for _, _, rollout in block.rollouts()} for block in (negatives, audit)]
    assert rollouts[0] != rollouts[1]


def test_a_dropped_block_asks_for_nothing_more():
    engine = StarEngine([SLIPPERY] * 2)
    scheduler = Scheduler(credit_params(estimator="sequential", rollouts=6), engine, judge)
    dropped = scheduler.begin([star_problem(0, SLIPPERY, all_walks(SLIPPERY))])
    asked = len(engine.requests)
    dropped.dropped = True
    (block,) = scheduler.finish([scheduler.begin([star_problem(1, SLIPPERY, all_walks(SLIPPERY))])])
    assert block.negatives
    assert sum(request.prompt_ids[0] == 0 for request in engine.requests) == asked


def bare(number: int, star: Star, samples: Counts) -> CreditProblem:
    return star_problem(number, star, [star.walk(1, *[1] * (star.length - 1))], samples)


def test_the_bare_problems_rollouts_say_how_often_the_policy_solves_it():
    """Without samples the rate of each problem comes from its own rollouts, not from a guess."""
    stars = [Star(odds=(0.1, 0.9), length=4), Star(odds=(0.9, 0.1), length=4)]
    scheduler = Scheduler(credit_params(estimator="adaptive", rollouts=40), StarEngine(stars), judge)
    opened = scheduler.begin([bare(number, star, Counts()) for number, star in enumerate(stars)])
    scheduler.finish([opened])
    searches = [search for search in opened.searches if isinstance(search, AdaptiveSearch)]
    rates = [scores.rate for search in searches for scores, _ in search.draws()]
    assert rates[0] < 0.3
    assert rates[1] > 0.7


def test_a_problem_with_a_correct_sample_needs_no_rollouts_of_its_bare_prompt():
    star = STARS[0]
    block, engine = credit([bare(0, star, Counts(3, 2, 0))], [star], estimator="adaptive")
    assert all(len(request.prompt_ids) > 1 for request in engine.requests)
    assert block.negatives[0].pit == 1
    assert block.negatives[0].q[0] is None  # three samples are too few for best-of-5


def test_problems_that_were_never_solved_are_no_pilot():
    star = STARS[0]
    problems = [bare(number, star, Counts(15, number % 2, 0)) for number in range(200)]
    pilot = pilot_of(problems, 5)
    assert len(pilot) == PILOT
    assert all(problems[place].samples.correct for place in pilot)
    assert pilot_of([bare(0, star, Counts(15, 0, 0))], 5) == []
    unsolved = [bare(number, star, Counts(15, 0, 0)) for number in range(3)]
    block, engine = credit(unsolved, [star] * 3, estimator="adaptive")
    assert engine.requests == []
    assert [negative.reason for negative in block.negatives] == [NEVER_SOLVED] * 3


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_a_token_that_the_model_rules_out_is_an_unlikely_one(value):
    """Another writer's response may hold one."""

    class Ruled(StarEngine):
        def logprobs(self, texts):
            return [[value, *values[1:]] for values in super().logprobs(texts)]

    star = STARS[0]
    problem = star_problem(0, star, [star.walk(1, 1, 1, 1)])
    block, _ = credit([problem], [star], engine=Ruled([star]), estimator="adaptive")
    assert block.negatives[0].pit == 1
    assert 0.9 < block.negatives[0].certainty <= 1


def test_a_response_of_one_step_has_its_pit_there_and_costs_nothing():
    star = Star(odds=(0.5, 0.5), length=3)
    walk = star.walk(1, 1, 1)
    problem = star_problem(0, star, [walk])
    block, engine = credit([problem], [star], estimator="adaptive", max_steps=1)
    assert engine.requests == []
    assert block.negatives[0].pit == 1
    assert block.negatives[0].certainty == 1


@pytest.mark.parametrize("tokens", [1, 30, 200])
def test_no_rollout_is_named_once_the_budget_of_tokens_is_spent(tokens):
    def ends(budget):
        problem = star_problem(0, SLIPPERY, all_walks(SLIPPERY)[:1])
        return credit(
            [problem], [SLIPPERY], rollouts=20, estimator="adaptive", budget_tokens=budget, target_error=0.001
        )

    block, engine = ends(tokens)
    drawn = [len(rollout.token_ids) for _, _, rollout in block.rollouts()]
    assert len(drawn) == sum(len(request.seeds) for request in engine.requests)
    longest = 2 * SLIPPERY.length + 3
    assert sum(drawn) < tokens + 2 * longest


def test_a_pit_that_a_correct_response_passes_through_is_not_certain():
    evidence = Evidence((1, 2, 3), (1, 2, 3))
    response = Response(evidence, StepScores([-9.0, -0.01, -0.01], 0.5, 8))
    response.learn([Known((1, 9), True)])
    response.posterior.expect([0.999, 0.0005, 0.0005])
    target = Target(0.1, 8)
    assert response.posterior.pit == 1
    assert response.posterior.certainty > 0.9
    assert not response.certain(target, response.posterior, evidence.deepest_success)
    assert response.certain(target, response.posterior, 0)
