"""Rules for the chosen side, more pairs of one wrong response, and the weights of pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.credit.chosen import Likelihoods, difference, rank_of
from misstep.credit.layouts import options
from misstep.credit.pair_up import ProblemPairs, pair_up, undecided
from misstep.terms.layouts import FIXED_CHOICE, FROM_CREDIT, Layout
from misstep.terms.pairing import BY_LIKELIHOOD, ChosenBy
from tests.credit.test_layouts import credited, credited_problems, credited_star, problem, rollouts, sample

NEGATIVE = credited(4, (10, 1, 12, 1, 13, 0), (2, 4, 6), 2)
SIDES = rollouts((12, 9, 0), (21, 9, 9, 9, 0), (22, 0), (12, 2, 30, 31, 32, 33, 0))
"""Correct rollouts after the first step; the rejected step is (12, 1)."""
SOURCE = problem(credited=[NEGATIVE], solved={str((10, 1)): SIDES})


RULES = st.sampled_from([rule for rule in get_args(ChosenBy) if rule not in BY_LIKELIHOOD])


class BySize:
    """An engine whose tokens are the likelier, the smaller they are."""

    def __init__(self):
        self.read = []

    def logprobs(self, texts):
        self.read += texts
        return [[-float(token) for token in response] for _, response in texts]


def chosen_by(rule: ChosenBy, source=SOURCE, layout: Layout = "shared-prefix", seed: int = 0, per_negative: int = 1):
    likelihoods = Likelihoods(BySize().logprobs)
    likelihoods.learn(undecided(layout, source, seed))
    return pair_up(layout, source, 9, seed, per_negative, rank_of(rule, likelihoods))


@pytest.mark.parametrize(
    ("rule", "ids"),
    [
        ("shortest", (22, 0)),
        ("longest", (12, 2, 30, 31, 32, 33, 0)),
        ("nearest", (12, 9, 0)),  # as the longest one it differs from the step in one token; it was drawn first
        ("farthest", (21, 9, 9, 9, 0)),  # so does the shortest one, but for its length
        ("likeliest", (12, 9, 0)),
        ("unlikeliest", (12, 2, 30, 31, 32, 33, 0)),
    ],
)
def test_each_rule_takes_its_side(rule, ids):
    seeds = range(20)
    found = Counter(pair.chosen.token_ids for seed in seeds for pair in chosen_by(rule, seed=seed).pairs)
    if rule == "nearest":
        assert found.keys() == {(12, 9, 0), (12, 2, 30, 31, 32, 33, 0)}
    elif rule == "farthest":
        assert found.keys() == {(21, 9, 9, 9, 0), (22, 0)}
    else:
        assert found.keys() == {ids}


def test_a_random_side_is_what_it_was_before_there_were_rules():
    assert chosen_by("random").pairs == pair_up("shared-prefix", SOURCE, 9, 0).pairs
    assert len({chosen_by("random", seed=seed).pairs[0].chosen.token_ids for seed in range(40)}) == 4


def test_a_cut_off_side_is_compared_with_as_many_tokens_of_the_other():
    whole = chosen_by("random").pairs[0]
    assert {difference(pair) for pair in undecided("shared-prefix", SOURCE, 0)} == {1, 2}
    (complete,) = pair_up("random", problem(correct=[sample(1, 3, 4, 5, 6)], wrong=[sample(2, 3, 9)]), 9, 0).pairs
    assert complete.rejected_complete and not whole.rejected_complete
    assert difference(complete) == 3


def test_likelihoods_are_means_and_each_side_is_read_once():
    engine = BySize()
    likelihoods = Likelihoods(engine.logprobs)
    pairs = [*undecided("shared-prefix", SOURCE, 0)]
    likelihoods.learn(pairs)
    likelihoods.learn(pairs)
    assert sorted(engine.read) == sorted((pair.prompt_ids, pair.chosen.token_ids) for pair in pairs)
    assert all(likelihoods.of(pair) == -sum(pair.chosen.token_ids) / len(pair.chosen.token_ids) for pair in pairs)


def test_only_sides_among_which_there_is_a_choice_are_read_and_older_ones_are_forgotten():
    engine = BySize()
    likelihoods = Likelihoods(engine.logprobs)
    single = problem(credited=[NEGATIVE], solved={str((10, 1)): SIDES[:1]})
    likelihoods.learn(undecided("shared-prefix", single, 0))
    assert engine.read == []
    assert len(pair_up("shared-prefix", single, 9, 0, rank=rank_of("likeliest", likelihoods)).pairs) == 1
    for _ in range(2):
        likelihoods.learn(undecided("shared-prefix", SOURCE, 0))
        likelihoods.learn([])
    assert len(engine.read) == 2 * len(SIDES)


@settings(max_examples=200, deadline=None)
@given(credited_problems(), st.integers(1, 4), st.integers(0, 99), st.integers(1, 3), RULES)
@pytest.mark.parametrize("layout", FROM_CREDIT)
def test_no_rule_changes_how_many_pairs_a_response_gives(layout, source, per_problem, seed, most, rule):
    plain, ranked = (pair_up(layout, source, per_problem, seed, most, rank) for rank in (None, rank_of(rule)))
    assert plain.dropped == ranked.dropped
    counts = [Counter(pair.negative_sample for pair in found.pairs) for found in (plain, ranked)]
    assert counts[0] == counts[1]


def test_further_pairs_of_a_negative_have_other_chosen_sides():
    found = chosen_by("shortest", per_negative=3)
    assert [pair.chosen.token_ids for pair in found.pairs] == [(22, 0), (12, 9, 0), (21, 9, 9, 9, 0)]
    assert (found.candidates, found.dropped) == (1, {})
    assert len(chosen_by("random", per_negative=9).pairs) == 4


def test_all_negatives_get_their_first_pair_before_one_gets_its_second():
    twins = [credited(n, (10, 1, 12 + n, 0), (2, 4), 2) for n in range(3)]
    source = problem(correct=[], credited=twins, solved={str((10, 1)): rollouts((30, 0), (31, 0))})
    found = pair_up("shared-prefix", source, 4, 0, per_negative=2)
    assert [pair.negative_sample for pair in found.pairs] == [0, 1, 2, 0]
    assert found.dropped == {}
    assert pair_up("shared-prefix", source, 2, 0, per_negative=2).dropped == {"over-per-problem": 1}


def test_edit_distance_goes_on_with_the_farthest_of_the_others():
    source = problem(correct=[sample(1, 9), sample(2, 9, 8, 7), sample(3, 9, 8, 7, 6)], wrong=[sample(4, 5)])
    pairs = pair_up("edit-distance", source, 9, 0, per_negative=2).pairs
    assert [pair.chosen.sample for pair in pairs] == [3, 2]


@settings(max_examples=200, deadline=None)
@given(credited_problems(), st.integers(1, 6), st.integers(0, 99), st.integers(1, 4), RULES)
@pytest.mark.parametrize("layout", FROM_CREDIT)
def test_more_pairs_of_a_negative_only_add(layout, source, per_problem, seed, per_negative, rule):
    rank = rank_of(rule)
    found = pair_up(layout, source, per_problem, seed, per_negative, rank)
    fewer = pair_up(layout, source, per_problem, seed, max(1, per_negative - 1), rank)
    assert found.pairs[: len(fewer.pairs)] == fewer.pairs
    assert found.dropped == fewer.dropped
    assert len({pair.identity for pair in found.pairs}) == len(found.pairs) <= per_problem
    each = Counter(pair.negative_sample for pair in found.pairs)
    assert max(each.values(), default=0) <= per_negative
    assert found.candidates == len(each) + found.dropped.total()


@settings(max_examples=200, deadline=None)
@given(credited_problems(), st.integers(0, 99), RULES)
@pytest.mark.parametrize("layout", FROM_CREDIT)
def test_the_first_pair_is_the_first_by_the_rule(layout, source, seed, rule):
    rank = rank_of(rule)
    made = pair_up(layout, source, 99, seed, 1, rank).pairs
    offered = [pairs for pairs in options(layout, source, seed) if not isinstance(pairs, str)]
    possible = [pair for pairs in offered for pair in pairs]
    taken: set[object] = set()
    for pair in made:
        others = [
            other
            for other in possible
            if (other.negative_sample, other.pit, other.layout) == (pair.negative_sample, pair.pit, layout)
            and other.identity not in taken
        ]
        assert pair in others
        if rank is not None:
            assert rank(pair) == min(map(rank, others))
        taken.add(pair.identity)


@settings(max_examples=200, deadline=None)
@given(credited_problems(), st.integers(1, 4), st.integers(0, 99), st.integers(1, 3), RULES)
def test_a_placebo_has_no_more_pairs_of_a_negative_than_the_shared_prefix(source, per_problem, seed, most, rule):
    rank = rank_of(rule)
    shared, placebo = (
        Counter(pair.negative_sample for pair in pair_up(layout, source, per_problem, seed, most, rank).pairs)
        for layout in ("shared-prefix", "placebo-cut")
    )
    assert placebo <= shared


@pytest.mark.parametrize("rule", get_args(ChosenBy))
def test_every_rule_pairs_the_same_wrong_responses(rule):
    star = credited_star()
    for layout in [layout for layout in get_args(Layout) if layout not in FIXED_CHOICE]:
        plain = [pair.negative_sample for pair in pair_up(layout, star, 8, 1).pairs]
        assert [pair.negative_sample for pair in chosen_by(rule, star, layout, seed=1).pairs] == plain


@pytest.mark.parametrize(
    ("found", "fall"),
    [
        ({"q": (0.9, 0.6, 0.0, 0.0), "alive": (1.0, 1.0, 0.0, 0.0)}, 0.6),
        ({"q": (0.9, None, None, 0.0), "alive": (1.0, 0.95, 0.15, 0.0), "certainty": 0.8}, 0.8),
        ({"q": (0.9, None, None, 0.0), "alive": (1.0, 1.0, 0.0, 0.0)}, 1.0),
        ({"q": (), "alive": (1.0, None, 0.0, 0.0)}, None),
        ({}, None),
    ],
    ids=["full-scan", "adaptive", "sequential", "unknown", "nothing"],
)
def test_the_fall_at_the_pit_is_what_credit_knows_of_it(found, fall):
    assert replace(NEGATIVE, **found).fall == fall
    assert replace(NEGATIVE, pit=None, **found).fall is None


def lucky(correct=(), solved=None, pit: int | None = 2) -> ProblemPairs:
    positive = credited(1, (10, 1, 12, 1, 13, 0), (2, 4, 6), pit)
    own = sample(1, *positive.token_ids)
    source = problem(correct=[own, *correct], wrong=[], credited=[positive], solved=solved or {})
    return pair_up("lucky-step", source, 9, 0)


def test_a_lucky_step_is_rejected_and_the_response_itself_is_not_chosen():
    (pair,) = lucky(solved={str((10, 1)): rollouts((21, 0), (22, 0))}).pairs
    assert (pair.rejected_ids, pair.rejected_complete, pair.pit) == ((12, 1), False, 2)
    assert pair.prompt_ids == (70, 71, 10, 1)
    assert pair.chosen.token_ids in {(21, 0), (22, 0)}
    assert pair.negative_sample == 1
    (first,) = lucky([sample(2, 20, 1, 21, 0)], pit=1).pairs
    assert (first.rejected_ids, first.chosen.sample) == ((10, 1), 2)


def test_a_lucky_step_that_succeeds_again_is_refuted():
    assert lucky([sample(2, 10, 1, 12, 1, 14, 0)], {str((10, 1)): rollouts((21, 0))}).dropped == {"refuted": 1}
    assert lucky(solved={str((10, 1)): rollouts((21, 0), (12, 1, 14, 0))}).dropped == {"refuted": 1}


def test_a_correct_response_without_such_a_step_gives_no_pair():
    assert lucky(solved={str((10, 1)): rollouts((21, 0))}, pit=None).dropped == {"no-pit": 1}
    assert lucky().dropped == {"no-correct-answer": 1}
