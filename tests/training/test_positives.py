from __future__ import annotations

import random
from array import array
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from misstep.terms.verdict import Verdict
from misstep.training.positives import Sample, select_positives

samples = st.lists(
    st.builds(
        Sample,
        problem_id=st.sampled_from(["a", "b", "c"]),
        sample=st.integers(0, 30),
        prompt_ids=st.just([9]),
        token_ids=st.lists(st.integers(0, 3), min_size=1, max_size=6).map(lambda ids: array("i", ids)),
        finish_reason=st.sampled_from(["stop", "stop", "length"]),
        verdict=st.sampled_from([Verdict.CORRECT, *Verdict]),
        lucky=st.sampled_from([False, False, True]),
    ),
    max_size=40,
    unique_by=lambda s: (s.problem_id, s.sample),
)
percents = st.integers(0, 90)


@given(samples, st.integers(1, 4), percents)
def test_only_distinct_complete_correct_samples_are_kept(given_samples, most, percent):
    found = select_positives(given_samples, most, percent)
    assert all(s.verdict == "correct" and s.finish_reason == "stop" and not s.lucky for s in found.kept)
    for one, other in combinations(found.kept, 2):
        if one.problem_id == other.problem_id:
            distance = Levenshtein.distance(one.token_ids, other.token_ids)
            assert distance > 0
            assert 100 * distance > percent * max(len(one.token_ids), len(other.token_ids))
    for problem in {s.problem_id for s in found.kept}:
        assert sum(s.problem_id == problem for s in found.kept) <= most


@given(samples, st.integers(1, 4), percents)
def test_nothing_is_lost_uncounted_and_the_set_is_maximal(given_samples, most, percent):
    found = select_positives(given_samples, most, percent)
    assert len(found.kept) + sum(found.dropped.values()) == len(given_samples)
    for sample in given_samples:
        if sample.verdict != "correct" or sample.finish_reason != "stop" or sample.lucky or sample in found.kept:
            continue
        of_problem = [s for s in found.kept if s.problem_id == sample.problem_id]
        alike = any(
            100 * Levenshtein.distance(s.token_ids, sample.token_ids)
            <= percent * max(len(s.token_ids), len(sample.token_ids))
            for s in of_problem
        )
        assert alike or len(of_problem) == most


@given(samples, st.integers(1, 4), percents, st.randoms())
def test_the_order_of_the_samples_does_not_matter(given_samples, most, percent, rng: random.Random):
    shuffled = rng.sample(given_samples, len(given_samples))
    assert select_positives(shuffled, most, percent) == select_positives(given_samples, most, percent)


def test_the_first_by_sample_index_are_kept():
    def sample(index: int, *ids: int) -> Sample:
        return Sample("p", index, [9], array("i", ids), "stop", Verdict.CORRECT)

    found = select_positives([sample(3, 1, 1), sample(0, 2, 2), sample(1, 2, 2), sample(2, 2, 3)], 2, 0)
    assert [s.sample for s in found.kept] == [0, 2]
    assert found.dropped == {"too-like-another": 1, "over-per-problem": 1}
    assert [s.sample for s in select_positives([sample(0, 2, 2), sample(2, 2, 3), sample(3, 1, 1)], 2, 50).kept] == [
        0,
        3,
    ]
