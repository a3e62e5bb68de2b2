from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.evidence import Evidence, Known, shared_steps

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=10).map(tuple)


@st.composite
def responses(draw):
    ids = draw(TOKENS)
    inner = draw(st.sets(st.integers(1, max(1, len(ids) - 1)), max_size=4))
    return ids, (*sorted(end for end in inner if end < len(ids)), len(ids))


@given(responses(), TOKENS)
def test_shared_steps_are_the_longest_common_prefix_of_whole_steps(response, other):
    ids, ends = response
    shared = shared_steps(ids, ends, other)
    whole = [number for number, end in enumerate((0, *ends)) if other[:end] == ids[:end]]
    assert shared == max(whole)


@given(responses(), st.lists(st.builds(Known, TOKENS, st.booleans()), max_size=12))
def test_each_response_is_counted_once_where_it_leaves(response, known):
    ids, ends = response
    evidence = Evidence(ids, ends)
    places = evidence.add(known)
    leaving = [each for each in known if each.token_ids[: len(ids)] != ids]
    assert sum(evidence.solved) == sum(each.solved for each in leaving)
    assert sum(evidence.failed) == sum(not each.solved for each in leaving)
    for (place, solved), each in zip(places, leaving, strict=True):
        begin = (0, *ends)[place]
        assert solved == each.solved
        assert each.token_ids[:begin] == ids[:begin]
        assert each.token_ids[: ends[place]] != ids[: ends[place]]
    assert evidence.deepest_success == max((place for place, solved in places if solved), default=0)


def test_a_correct_sample_that_begins_with_two_steps_proves_these_alive():
    evidence = Evidence((1, 2, 3, 4, 5, 6), (2, 4, 6))
    repeated = Known((1, 2, 3, 4, 5, 6), False)  # the same wrong response says nothing new
    evidence.add([Known((1, 2, 3, 4, 9), True), Known((1, 2, 9), False), repeated])
    assert evidence.solved == [0, 0, 1]
    assert evidence.failed == [0, 1, 0]
    assert evidence.deepest_success == 2
