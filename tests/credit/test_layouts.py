"""Pairs of made-up problems, and of stars that were really credited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from misstep.credit.layouts import Answer, Blamed, ProblemAnswers, options
from misstep.credit.pairing import pair_up
from misstep.credit.scheduler import Scheduler
from tests.credit.star import END, Star, StarEngine, credit_params, judge, star_problem, text_of

LAYOUTS = ["shared-prefix", "whole-response", "random", "edit-distance"]
SLIPPERY = Star(odds=(0.5, 0.25, 0.25), length=4, slip=0.15)


def sample(number, *ids):
    return Answer(tuple(ids), text_of([i % 90 for i in ids]), "sample", number)


def blamed(number, ids, ends, pit, reason=None):
    texts = tuple(text_of(ids[begin:end]) for begin, end in zip((0, *ends), ends, strict=False))
    names = tuple(str(ids[:end]) for end in (0, *ends))
    return Blamed(number, tuple(ids), tuple(ends), texts, names, pit, reason)


def problem(**changes):
    values = {
        "problem_id": "p",
        "prompt_ids": (70, 71),
        "correct": [sample(1, 10, 1, 11, 0), sample(2, 20, 1, 21, 0)],
        "wrong": [sample(3, 30, 1, 31, 0), sample(4, 10, 1, 12, 0)],
    }
    return ProblemAnswers(**{**values, **changes})


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
    found = [
        Blamed(n.negative.sample, n.negative.token_ids, n.steps.ends, n.steps.texts, n.prefix_ids, n.pit, n.reason)
        for n in block.negatives
    ]
    right = [star.walk(0, 0, 0, 0), star.walk(1, 0, 0, 0), star.walk(2, 2, 0, 0)]
    return ProblemAnswers(
        problem_id=source.problem_id,
        prompt_ids=(0,),
        correct=[Answer(ids, text_of(ids), "sample", 10 + n) for n, ids in enumerate(right)],
        wrong=[Answer(n.token_ids, n.text, "sample", n.sample) for n in source.negatives],
        blamed=found,
        solved=solved,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(5))
def test_invariants_of_pairs(layout, seed):
    star = credited_star()
    found = pair_up(layout, star, 8, seed)
    assert found.candidates == 4 == len(found.pairs) + found.dropped.total()
    assert found.pairs
    wrong = {answer.sample: answer for answer in star.wrong}
    pits = {negative.sample: negative for negative in star.blamed}
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
        if layout in ("random", "edit-distance"):
            assert pair.rejected_ids == response
            assert pair.pit is None
        else:
            negative = pits[pair.negative_sample]
            assert pair.pit == negative.pit
            assert len(prefix + pair.rejected_ids) == negative.step_ends[pair.pit - 1]
            first = negative.step_ends[pair.pit - 2] if pair.pit > 1 else 0
            assert len(prefix) == (first if layout == "shared-prefix" else 0)
    assert len({pair.identity for pair in found.pairs}) == len(found.pairs)
    assert pair_up(layout, star, 8, seed) == found


@pytest.mark.parametrize("layout", ["shared-prefix", "whole-response"])
def test_what_has_no_pit_gives_no_pair_and_says_why(layout):
    found = pair_up(layout, problem(blamed=[blamed(3, (30, 1, 31, 0), (2, 4), None, "never-solved")]), 4, 0)
    assert (found.candidates, found.pairs, found.dropped) == (1, [], {"never-solved": 1})


@pytest.mark.parametrize("layout", ["shared-prefix", "whole-response"])
def test_a_pit_is_refuted_by_a_correct_response_that_goes_through_it(layout):
    first, second = blamed(4, (10, 1, 12, 0), (2, 4), 1), blamed(5, (40, 1, 41, 0), (2, 4), 1)
    found = pair_up(layout, problem(blamed=[first, second]), 4, 0)
    assert [pair.negative_sample for pair in found.pairs] == [5]
    assert found.dropped == {"refuted": 1}
    lucky = {str((40, 1)): [Answer((42, 0), "", "rollout")]}
    assert pair_up(layout, problem(blamed=[first, second], solved=lucky), 4, 0).dropped == {"refuted": 2}
    lucky = {str(()): [Answer((40, 1, 42, 0), "", "rollout")]}
    assert pair_up(layout, problem(blamed=[first, second], solved=lucky), 4, 0).dropped == {"refuted": 2}


def test_a_later_pit_takes_rollouts_from_before_it_only():
    negative = blamed(4, (10, 1, 12, 1, 13, 0), (2, 4, 6), 2)
    rollout = Answer((11, 1, 14, 0), "", "rollout")
    found = pair_up("shared-prefix", problem(blamed=[negative], solved={str((10, 1)): [rollout]}), 4, 0)
    assert found.pairs[0].prompt_ids == (70, 71, 10, 1)
    assert found.pairs[0].chosen == rollout
    assert found.pairs[0].rejected_ids == (12, 1)
    assert not found.pairs[0].rejected_complete
    elsewhere = problem(blamed=[negative], solved={})
    assert pair_up("shared-prefix", elsewhere, 4, 0).dropped == {"no-correct-answer": 1}


@pytest.mark.parametrize("layout", ["shared-prefix", "whole-response"])
def test_a_first_pit_may_take_rollouts_of_the_bare_problem(layout):
    negative = blamed(3, (30, 1, 31, 0), (2, 4), 1)
    rollout = Answer((11, 1, 14, 0), "", "rollout")
    found = pair_up(layout, problem(correct=[], blamed=[negative], solved={"()": [rollout]}), 4, 0)
    assert [pair.chosen for pair in found.pairs] == [rollout]


def test_negatives_with_one_pit_take_different_answers_until_none_is_left():
    negatives = [blamed(n, (30, 1, 31 + n, 0), (2, 4), 1) for n in range(3)]
    found = pair_up("shared-prefix", problem(blamed=negatives), 4, 0)
    assert sorted(pair.chosen.sample for pair in found.pairs) == [1, 2]
    assert found.dropped == {"duplicate": 1}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_at_most_so_many_pairs_of_a_problem(layout):
    star = credited_star()
    everything = pair_up(layout, star, 8, 0)
    some = pair_up(layout, star, 2, 0)
    assert some.pairs == everything.pairs[:2]
    assert some.dropped["over-per-problem"] == len(everything.pairs) - 2


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
    pairs = [next(iter(offered)) for offered in options("edit-distance", given_, 0)]
    distances = [Levenshtein.distance(pair.chosen.token_ids, pair.rejected_ids) for pair in pairs]
    assert distances[0] == max(Levenshtein.distance(c, w) for c in correct for w in wrong)
    assert sorted(pair.negative_sample for pair in pairs) == [100 + n for n in range(len(wrong))]
    used = [sum(pair.chosen.sample == n for pair in pairs) for n in range(len(correct))]
    assert max(used) - min(used) <= 1
    one_round = distances[: len(correct)]
    assert one_round == sorted(one_round, reverse=True)
