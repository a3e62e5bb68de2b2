from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from misstep.problems.overlap import ngrams, overlapping

WORDS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij", "kl", "mn"]), max_size=20).map(" ".join)


def test_a_shared_run_of_words_is_an_overlap_whatever_the_case_and_signs_around_it() -> None:
    train = ["Tom has 3 apples and buys 4 more today", "Nothing in common here at all"]
    test = ["(TOM HAS 3 apples and buys 4) what now?"]
    assert overlapping(train, test, 6) == ([0], 1)
    assert overlapping(train, test, 9) == ([], 0)


def test_short_texts_overlap_only_as_a_whole() -> None:
    assert overlapping(["1 + 1"], ["1 + 1"], 13) == ([0], 1)
    assert overlapping(["1 + 1"], ["1 + 1 = ?"], 13) == ([], 0)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6), st.integers(1, 6))
def test_it_agrees_with_the_definition(texts: list[str], held_out: list[str], n: int) -> None:
    hits, touched = overlapping(texts, held_out, n)
    assert hits == [i for i, t in enumerate(texts) if any(ngrams(t, n) & ngrams(h, n) for h in held_out)]
    assert touched == sum(any(ngrams(t, n) & ngrams(h, n) for t in texts) for h in held_out)
