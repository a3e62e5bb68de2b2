"""Pairs from made-up problems, and from stars with real credit."""

from __future__ import annotations

from ast import literal_eval
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from misstep.credit.block import CreditedResponse
from misstep.credit.controls import agreement, cut_counts
from misstep.credit.layouts import Answer, Pair, ProblemAnswers, options
from misstep.credit.pair_up import pair_up
from misstep.credit.scheduler import Scheduler
from misstep.credit.steps import Steps
from misstep.terms.layouts import CREDITED, FROM_CREDIT, ONE_STEP, Layout
from tests.credit.star import END, Star, StarEngine, credit_params, judge, star_problem, text_of

LAYOUTS = list(get_args(Layout))
SLIPPERY = Star(odds=(0.5, 0.25, 0.25), length=4, slip=0.15)


def sample(number, *ids):
    return Answer(tuple(ids), text_of([i % 90 for i in ids]), "sample", number)


def credited(number, ids, ends, pit, reason=None, true_pit=None):
    texts = tuple(text_of(ids[begin:end]) for begin, end in zip((0, *ends), ends, strict=False))
    names = tuple(str(ids[:end]) for end in (0, *ends))
    return CreditedResponse("p", number, tuple(ids), Steps(tuple(ends), texts), names, pit, reason, true_pit=true_pit)


def problem(**changes):
    values = {
        "problem_id": "p",
        "prompt_ids": (70, 71),
        "correct": [sample(1, 10, 1, 11, 0), sample(2, 20, 1, 21, 0)],
        "wrong": [sample(3, 30, 1, 31, 0), sample(4, 10, 1, 12, 0)],
    }
    return ProblemAnswers(**{**values, **changes})


def offers(layout: Layout, source: ProblemAnswers, seed: int) -> Iterator[Iterable[Pair]]:
    """The pairs that each wrong response can give, where every one gives some."""
    for offered in options(layout, source, seed):
        assert not isinstance(offered, str)
        yield offered


def credited_star():
    """Credit walks of a slippery star, and return what the pairs stage would make of it."""
    star = SLIPPERY
    walks = [star.walk(0, 0, 1, 1), star.walk(1, 1, 1, 1), star.walk(1, 2, 2, 2), star.walk(0, 0, 0, 2)]
    source = star_problem(0, star, walks)
    block = Scheduler(credit_params(rollouts=8), StarEngine([star]), judge).credit([source])
    solved = {
        prefix.prefix_id: [Answer(r.token_ids, r.text, "rollout") for r in prefix.rollouts if r.solved]
        for prefix in block.prefixes
    }
    true_pits = [3, 1, 1, 4]  # where the walks leave the goal's arm
    found = [replace(n, true_pit=t) for n, t in zip(block.negatives, true_pits, strict=True)]
    right = [star.walk(0, 0, 0, 0), star.walk(1, 0, 0, 0), star.walk(2, 2, 0, 0)]
    return ProblemAnswers(
        problem_id=source.problem_id,
        prompt_ids=(0,),
        correct=[Answer(ids, text_of(ids), "sample", 10 + n) for n, ids in enumerate(right)],
        wrong=[Answer(n.token_ids, n.text, "sample", n.sample) for n in source.negatives],
        credited=found,
        solved=solved,
        taught=Answer(right[1], text_of(right[1]), "teacher"),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(5))
def test_invariants_of_pairs(layout, seed):
    star = credited_star()
    found = pair_up(layout, star, 8, seed)
    assert found.candidates == 4 == len(found.pairs) + found.dropped.total()
    assert found.pairs
    wrong = {answer.sample: answer for answer in star.wrong}
    pits = {negative.sample: negative for negative in star.credited}
    for pair in found.pairs:
        response = wrong[pair.negative_sample].token_ids
        prefix = pair.prompt_ids[len(star.prompt_ids) :]
        assert pair.prompt_ids == star.prompt_ids + response[: len(prefix)]
        assert pair.rejected_ids == response[len(prefix) : len(prefix) + len(pair.rejected_ids)]
        assert pair.rejected_text == text_of(pair.rejected_ids)
        assert pair.chosen.text == text_of(pair.chosen.token_ids)
        whole = prefix + pair.chosen.token_ids
        assert [j.verdict for j in judge([(text_of(whole), SLIPPERY.gold)])] == ["correct"]
        assert whole[-1] == END
        assert pair.chosen.token_ids[: len(pair.rejected_ids)] != pair.rejected_ids
        assert pair.rejected_complete == (prefix + pair.rejected_ids == response) == (pair.rejected_ids[-1] == END)
        if layout in ("random", "edit-distance", "teacher"):
            assert pair.rejected_ids == response
            assert pair.pit is None
        else:
            assert pair.pit is not None
            negative = pits[pair.negative_sample]
            if layout != "placebo-cut":
                assert pair.pit == (negative.true_pit if layout == "oracle-pit" else negative.pit)
            assert len(prefix + pair.rejected_ids) == negative.steps.ends[pair.pit - 1]
            first = negative.steps.ends[pair.pit - 2] if pair.pit > 1 else 0
            assert len(prefix) == (first if layout in ONE_STEP else 0)
    assert len({pair.identity for pair in found.pairs}) == len(found.pairs)
    assert pair_up(layout, star, 8, seed) == found


@pytest.mark.parametrize("layout", [*CREDITED, "placebo-cut"])
def test_what_has_no_pit_gives_no_pair_and_says_why(layout):
    found = pair_up(layout, problem(credited=[credited(3, (30, 1, 31, 0), (2, 4), None, "never-solved")]), 4, 0)
    assert (found.candidates, found.pairs, found.dropped) == (1, [], {"never-solved": 1})


@pytest.mark.parametrize("layout", [*CREDITED, "placebo-cut"])
def test_a_pit_is_refuted_by_a_correct_response_that_goes_through_it(layout):
    first, second = credited(4, (10, 1, 12, 0), (2, 4), 1), credited(5, (40, 1, 41, 0), (2, 4), 1)
    found = pair_up(layout, problem(credited=[first, second]), 4, 0)
    assert [pair.negative_sample for pair in found.pairs] == [5]
    assert found.dropped == {"refuted": 1}
    lucky = {str((40, 1)): [Answer((42, 0), "", "rollout")]}
    assert pair_up(layout, problem(credited=[first, second], solved=lucky), 4, 0).dropped == {"refuted": 2}
    lucky = {str(()): [Answer((40, 1, 42, 0), "", "rollout")]}
    assert pair_up(layout, problem(credited=[first, second], solved=lucky), 4, 0).dropped == {"refuted": 2}


def test_a_later_pit_takes_rollouts_from_before_it_only():
    negative = credited(4, (10, 1, 12, 1, 13, 0), (2, 4, 6), 2)
    rollout = Answer((11, 1, 14, 0), "", "rollout")
    found = pair_up("shared-prefix", problem(credited=[negative], solved={str((10, 1)): [rollout]}), 4, 0)
    assert found.pairs[0].prompt_ids == (70, 71, 10, 1)
    assert found.pairs[0].chosen == rollout
    assert found.pairs[0].rejected_ids == (12, 1)
    assert not found.pairs[0].rejected_complete


def test_without_rollouts_the_rest_of_a_correct_response_that_passes_through_is_chosen():
    negative = credited(4, (10, 1, 12, 1, 13, 0), (2, 4, 6), 2)
    found = pair_up("shared-prefix", problem(credited=[negative], solved={}), 4, 0)
    assert [pair.chosen.token_ids for pair in found.pairs] == [(11, 0)]
    assert found.pairs[0].chosen.sample == 1
    none = problem(correct=[], credited=[negative], solved={})
    assert pair_up("shared-prefix", none, 4, 0).dropped == {"no-correct-answer": 1}


@pytest.mark.parametrize("layout", [*CREDITED, "placebo-cut"])
def test_a_first_pit_may_take_rollouts_of_the_bare_problem(layout):
    negative = credited(3, (30, 1, 31, 0), (2, 4), 1)
    rollout = Answer((11, 1, 14, 0), "", "rollout")
    found = pair_up(layout, problem(correct=[], credited=[negative], solved={"()": [rollout]}), 4, 0)
    assert [pair.chosen for pair in found.pairs] == [rollout]


def test_negatives_with_one_pit_take_different_answers_until_none_is_left():
    negatives = [credited(n, (30, 1, 31 + n, 0), (2, 4), 1) for n in range(3)]
    found = pair_up("shared-prefix", problem(credited=negatives), 4, 0)
    assert sorted(pair.chosen.sample for pair in found.pairs) == [1, 2]
    assert found.dropped == {"duplicate": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_at_most_so_many_pairs_of_a_problem(layout):
    star = credited_star()
    everything = pair_up(layout, star, 8, 0)
    some = pair_up(layout, star, 2, 0)
    assert some.pairs == everything.pairs[:2]
    assert some.dropped["over-per-problem"] == len(everything.pairs) - 2


def rollouts(*continuations):
    return [Answer(tuple(ids), "", "rollout") for ids in continuations]


FOUR = credited(4, (10, 1, 11, 1, 12, 1, 13, 0), (2, 4, 6, 8), 3)
"""Four steps, the pit at the third."""
SOLVED = {
    str((10, 1)): rollouts((11, 1, 20, 0), (21, 0)),  # one begins with the second step itself
    str((10, 1, 11, 1)): rollouts((22, 0)),
    str((10, 1, 11, 1, 12, 1)): [],
}


def test_a_placebo_cuts_at_every_possible_step_alike():
    source = problem(credited=[FOUR], solved=SOLVED)
    cuts = Counter(pair.pit for seed in range(1500) for pair in pair_up("placebo-cut", source, 4, seed).pairs)
    # Sample 1 begins with the first step, sample 2 does not. 1,500 draws from 3: a standard deviation of 18.3.
    assert cuts.keys() == {1, 2, 3}
    assert all(abs(count - 500) < 5 * 18.3 for count in cuts.values())


def test_a_placebo_never_prefers_what_begins_with_the_step_itself():
    source = problem(credited=[FOUR], solved=SOLVED)
    (offered,) = offers("placebo-cut", source, 0)
    chosen = {pair.pit: {p.chosen.token_ids for p in offered if p.pit == pair.pit} for pair in offered}
    assert chosen == {1: {(20, 1, 21, 0)}, 2: {(21, 0)}, 3: {(22, 0)}}
    repeated = {**SOLVED, str((10, 1)): rollouts((11, 1, 20, 0))}
    (offered,) = offers("placebo-cut", problem(credited=[FOUR], solved=repeated, correct=[]), 0)
    assert {pair.pit for pair in offered} == {3}
    assert cut_counts(offered, [FOUR]) == {"cut_at_pit": 1, "no_other_cut": 1}


def test_a_placebo_takes_the_cut_drawn_next_where_the_first_is_taken():
    # Two wrong solutions with the same beginning and one possible answer at each of their cuts.
    twins = [credited(n, (10, 1, 11, 1, 12 + n, 0), (2, 4, 6), 2) for n in (1, 2)]
    source = problem(correct=[sample(9, 20, 0)], credited=twins, solved={str((10, 1)): rollouts((21, 0), (22, 0))})
    for seed in range(20):
        pairs = pair_up("placebo-cut", source, 4, seed).pairs
        assert [pair.negative_sample for pair in pairs] == [1, 2]
        assert len({pair.identity for pair in pairs}) == 2


def test_a_placebo_draws_anew_for_each_seed_problem_and_sample():
    def cuts(problem_id, number):
        negative = credited(number, FOUR.token_ids, FOUR.steps.ends, 3)
        source = problem(problem_id=problem_id, credited=[negative], solved=SOLVED)
        return [pair_up("placebo-cut", source, 4, seed).pairs[0].pit for seed in range(30)]

    assert cuts("p", 4) == cuts("p", 4)
    assert len({tuple(cuts("p", 4)), tuple(cuts("p", 5)), tuple(cuts("q", 4))}) == 3


def test_an_oracle_pit_needs_no_pit_of_credits_but_a_way_on():
    def pairs(pit, true_pit, reason=None, **changes):
        negative = credited(4, FOUR.token_ids, FOUR.steps.ends, pit, reason, true_pit)
        return pair_up("oracle-pit", problem(credited=[negative], solved=SOLVED, **changes), 4, 0)

    for pit, reason in ((3, None), (2, None), (None, "never-solved")):
        (pair,) = pairs(pit, 3, reason).pairs
        assert (pair.pit, pair.rejected_ids, pair.chosen.token_ids) == (3, (12, 1), (22, 0))
        assert pair.prompt_ids == (70, 71, 10, 1, 11, 1)
    (pair,) = pairs(3, 2).pairs
    assert (pair.pit, pair.chosen.token_ids) == (2, (21, 0)), "the other rollout begins with the step"
    assert pairs(3, 4).dropped == {"no-correct-answer": 1}
    assert pairs(None, 4, "never-solved").dropped == {"never-solved": 1}
    assert pairs(3, None).dropped == {"no-true-error": 1}


def test_credit_is_counted_against_the_truth():
    places = [(3, 3), (2, 3), (4, 3), (None, 3), (3, None), (None, None), (1, 1)]
    found = agreement(
        credited(n, FOUR.token_ids, FOUR.steps.ends, pit, None, true) for n, (pit, true) in enumerate(places)
    )
    assert found == {
        "pit_is_oracle": 2,
        "pit_before_oracle": 1,
        "pit_after_oracle": 1,
        "no_pit": 1,
        "no_true_error": 2,
    }


TOKENS = st.lists(st.integers(2, 4), min_size=1, max_size=3).map(tuple)
STEPS = st.lists(TOKENS, min_size=1, max_size=4)


@st.composite
def credited_problems(draw):
    """Problems over three tokens, so that prefixes are shared and rollouts often repeat a step. Pits are anywhere."""
    negatives, solved = [], {}
    for number in range(draw(st.integers(1, 5))):
        steps = draw(STEPS)
        ids = (*(token for step in steps for token in step), 0)
        ends = tuple(sum(map(len, steps[: n + 1])) + (n + 1 == len(steps)) for n in range(len(steps)))
        where = st.none() | st.integers(1, len(steps))
        negatives.append(credited(number, ids, ends, draw(where), None, draw(where)))
        for end in (0, *ends[:-1]):
            if draw(st.booleans()):
                solved[str(ids[:end])] = rollouts(*((*c, 0) for c in draw(st.lists(TOKENS, max_size=3))))
    correct = [sample(20 + n, *ids, 0) for n, ids in enumerate(draw(st.lists(TOKENS, max_size=3, unique=True)))]
    return problem(correct=correct, wrong=[], credited=negatives, solved=solved)


@settings(max_examples=300, deadline=None)
@given(credited_problems(), st.integers(1, 4), st.integers(0, 99))
@pytest.mark.parametrize("layout", FROM_CREDIT)
def test_no_chosen_side_begins_with_the_rejected_one(layout, source, per_problem, seed):
    negatives = {negative.sample: negative for negative in source.credited}
    for pair in pair_up(layout, source, per_problem, seed).pairs:
        negative = negatives[pair.negative_sample]
        prefix = pair.prompt_ids[len(source.prompt_ids) :]
        assert pair.chosen.token_ids[: len(pair.rejected_ids)] != pair.rejected_ids
        assert pair.pit is not None
        assert (*prefix, *pair.rejected_ids) == negative.token_ids[: negative.steps.ends[pair.pit - 1]]
        whole = [a.token_ids for a in source.correct]
        whole += [literal_eval(name) + a.token_ids for name, answers in source.solved.items() for a in answers]
        passing = [ids[len(prefix) :] for ids in whole if ids[: len(prefix)] == prefix]
        rollouts = source.solved.get(str(prefix), [])
        assert pair.chosen in rollouts or (pair.chosen.token_ids in passing and (not prefix or not rollouts))


@settings(max_examples=300, deadline=None)
@given(credited_problems(), st.integers(1, 4), st.integers(0, 99))
def test_a_placebo_takes_the_wrong_solutions_of_the_shared_prefix(source, per_problem, seed):
    shared, placebo = (pair_up(layout, source, per_problem, seed) for layout in ("shared-prefix", "placebo-cut"))
    assert placebo.candidates == shared.candidates
    paired = [[pair.negative_sample for pair in found.pairs] for found in (shared, placebo)]
    # What is missing has had every pair of every cut taken by others.
    missing = set(paired[0]) - set(paired[1])
    assert [number for number in paired[0] if number not in missing] == paired[1]
    assert placebo.dropped == shared.dropped + Counter(duplicate=len(missing))
    if len(source.credited) == 1:
        assert not missing


def test_the_teachers_solution_stands_against_every_wrong_one_also_where_the_policy_never_solved_it():
    taught = Answer((50, 51, 0), text_of([50, 51, 0]), "teacher")
    found = pair_up("teacher", problem(correct=[], taught=taught), 4, 0, per_negative=3)
    assert [(pair.chosen, pair.negative_sample) for pair in found.pairs] == [(taught, 3), (taught, 4)]
    assert pair_up("teacher", problem(taught=taught), 1, 0).dropped == {"over-per-problem": 1}
    assert pair_up("teacher", problem(), 4, 0).dropped == {"no-teacher-solution": 2}


@pytest.mark.parametrize("layout", ["random", "edit-distance"])
def test_baselines_use_each_wrong_sample_once(layout):
    found = pair_up(layout, problem(), 8, 0)
    assert sorted(pair.negative_sample for pair in found.pairs) == [3, 4]
    assert pair_up(layout, problem(correct=[]), 8, 0).dropped == {"no-correct-answer": 2}
    assert pair_up(layout, problem(wrong=[]), 8, 0).candidates == 0


def test_random_pairs_are_spread_over_the_correct_samples():
    many = problem(correct=[sample(n, n, 0) for n in range(10, 14)], wrong=[sample(n, n, 0) for n in range(20, 60)])
    counts = [0] * 4
    for seed in range(20):
        for pair in pair_up("random", many, 99, seed).pairs:
            counts[pair.chosen.sample - 10] += 1
    # 800 draws from 4: each count has standard deviation 12.2.
    assert all(abs(count - 200) < 5 * 12.2 for count in counts)


IDS = st.lists(st.integers(2, 9), min_size=1, max_size=8).map(tuple)


@given(st.lists(IDS, min_size=1, max_size=4, unique=True), st.lists(IDS, min_size=1, max_size=6, unique=True))
def test_edit_distance_pairs_the_farthest_first_and_evenly(correct, wrong):
    given_ = problem(
        correct=[sample(n, *ids) for n, ids in enumerate(correct)],
        wrong=[sample(100 + n, *ids) for n, ids in enumerate(wrong)],
    )
    pairs = [next(iter(offered)) for offered in offers("edit-distance", given_, 0)]
    distances = [Levenshtein.distance(pair.chosen.token_ids, pair.rejected_ids) for pair in pairs]
    assert distances[0] == max(Levenshtein.distance(c, w) for c in correct for w in wrong)
    assert sorted(pair.negative_sample for pair in pairs) == [100 + n for n in range(len(wrong))]
    used = [sum(pair.chosen.sample == n for pair in pairs) for n in range(len(correct))]
    assert max(used) - min(used) <= 1
    one_round = distances[: len(correct)]
    assert one_round == sorted(one_round, reverse=True)
