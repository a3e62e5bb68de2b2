from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.selection import ProblemTally, spread
from misstep.credit.values import Counts
from misstep.terms.verdict import Verdict

COUNTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 6), max_size=12)


def tally(*samples):
    """Take in (verdict, finish reason, response) triples, numbered from 0."""
    found = ProblemTally()
    for number, (verdict, reason, response) in enumerate(samples):
        found.add(number, Verdict(verdict), reason, response.encode(), room=len(response) < 5)
    return found


def test_negatives_are_finished_distinct_wrong_answers_that_fit():
    found = tally(
        ("correct", "stop", "a"),
        ("wrong", "stop", "b"),
        ("wrong", "length", "c"),
        ("unparsable", "stop", "d"),
        ("timeout", "stop", "e"),
        ("wrong", "stop", "b"),
        ("wrong", "stop", "f"),
        ("wrong", "stop", "ggggg"),
        ("wrong", "stop", "h"),
    )
    assert found.negatives(8) == [1, 6, 8]
    assert found.negatives(2) == [1, 6]
    assert found.skipped == {"repeated": 1, "too_long": 1}


def test_of_equal_responses_the_first_sample_stands_in_any_order():
    found = ProblemTally()
    for number in (5, 2, 9):
        found.add(number, Verdict.WRONG, "stop", b"same", room=True)
    assert found.negatives(8) == [2]


def test_the_negative_itself_is_no_evidence_of_its_problem():
    found = tally(
        ("correct", "stop", "a"), ("wrong", "stop", "b"), ("wrong", "length", "c"), ("unparsable", "stop", "d")
    )
    assert found.other_samples() == Counts(3, 1, 2)
    assert ProblemTally().other_samples() == Counts(0, 0, 0)


def test_a_positive_itself_is_no_evidence_of_its_problem_either():
    found = tally(("correct", "stop", "a"), ("correct", "stop", "b"), ("correct", "stop", "a"), ("wrong", "stop", "c"))
    assert found.other_samples(correct=True) == Counts(3, 2, 0)
    assert found.positives(8) == [0, 1]
    assert found.positives(1) == [0]
    assert ProblemTally().other_samples(correct=True) == Counts(0, 0, 0)
    only = tally(*[("correct", "stop", name) for name in "abcdef"])
    assert only.other_samples(correct=True) == Counts(5, 5, 0)
    assert only.other_samples() == Counts(5, 5, 0)  # it has no negatives: never more successes than samples


def test_leaving_the_negative_out_has_no_bias():
    """Over all outcomes of 4 samples, weighted by their odds and by each wrong sample in them, the mean is
    p."""
    p, weight, total = 0.7, 0.0, 0.0
    for outcome in range(16):
        verdicts = ["correct" if outcome >> n & 1 else "wrong" for n in range(4)]
        found = tally(*((verdict, "stop", str(n)) for n, verdict in enumerate(verdicts)))
        odds = p ** verdicts.count("correct") * (1 - p) ** verdicts.count("wrong")
        known = found.other_samples()
        weight += odds * verdicts.count("wrong")
        total += odds * verdicts.count("wrong") * known.correct / known.rollouts
    assert abs(total / weight - p) < 1e-12


@given(COUNTS, st.none() | st.integers(0, 40), st.integers(0, 3))
def test_spread_is_even_and_no_more_than_wanted(counts, limit, seed):
    given_ = spread(counts, limit, seed)
    total = sum(counts.values())
    assert sum(given_.values()) == (total if limit is None else min(limit, total))
    assert all(0 < share <= counts[problem] for problem, share in given_.items())
    most = max(given_.values(), default=0)
    short = [problem for problem in counts if given_.get(problem, 0) < min(counts[problem], most - 1)]
    assert not short, "a problem got a further turn before another had its own"


@given(COUNTS, st.integers(0, 40), st.integers(0, 3))
def test_spread_only_grows_with_the_limit_and_ignores_the_order(counts, limit, seed):
    less, more = spread(counts, limit, seed), spread(counts, limit + 1, seed)
    assert all(more[problem] >= share for problem, share in less.items())
    assert spread(dict(reversed(counts.items())), limit, seed) == less
