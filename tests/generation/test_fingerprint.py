from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from misstep.errors import BadInput
from misstep.generation.fingerprint import check_tokenizer, fingerprint, passed_on
from tests.generation.tiny import byte_tokenizer, word_tokenizer

merges = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), unique=True, max_size=6)


@settings(max_examples=20)
@given(merges, merges)
def test_it_tells_vocabularies_apart(one, other):
    assert (fingerprint(byte_tokenizer(one)) == fingerprint(byte_tokenizer(other))) == (one == other)


def test_a_saved_copy_is_the_same_and_added_tokens_are_not(tmp_path):
    made = byte_tokenizer([("a", "b")])
    made.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert fingerprint(again) == fingerprint(made)
    again.padding_side = "left"
    assert fingerprint(again) == fingerprint(made)
    again.add_tokens(["<step>"])
    assert fingerprint(again) != fingerprint(made)


def test_another_end_token_is_another_tokenizer():
    other = word_tokenizer()
    other.eos_token = "w2"
    assert fingerprint(other) != fingerprint(word_tokenizer())


def test_a_mismatch_is_named_and_old_inputs_pass():
    tokenizer = word_tokenizer()
    check_tokenizer(tokenizer, "samples", {})
    check_tokenizer(tokenizer, "samples", {"tokenizer": fingerprint(tokenizer)})
    with pytest.raises(BadInput, match="use the model that the pairs were made with"):
        check_tokenizer(tokenizer, "pairs", {"tokenizer": "0" * 16})
    assert passed_on({}) == {}
    assert passed_on({"tokenizer": "x", "samples": 1}) == {"tokenizer": "x"}
