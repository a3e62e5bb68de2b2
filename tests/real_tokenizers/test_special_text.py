"""Data that spells special tokens: a question cannot end its turn, and training uses a solution as it was written."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig

from misstep.errors import BadInput
from misstep.generation.ends import end_ids, special_ids
from misstep.generation.text import decode_continuation
from misstep.plan.params import PromptParams
from tests.real_tokenizers.models import DISTINCT, RealTokenizer

pytestmark = pytest.mark.parametrize("real", DISTINCT, indirect=True, scope="session")
CHAT = PromptParams(style="chat", template="{question}", system="Be brief.", examples=(("1 + 1?", "2"),))
NEUTRAL = "Is 0 < s > 1?"


def chat_or_plain(real: RealTokenizer) -> PromptParams:
    return CHAT if real.tokenizer.chat_template else PromptParams(style="plain", template="Q: {question}\nA: ")


def test_a_question_holds_no_special_token(real: RealTokenizer):
    builder = real.builder(chat_or_plain(real))
    structure = special_ids(real.tokenizer) | set(real.tokenizer.added_tokens_decoder)
    structure -= {i for i, token in real.tokenizer.added_tokens_decoder.items() if not str(token).strip()}
    own = [i for i in builder.prompt_ids(NEUTRAL) if i in structure]
    written = {str(real.tokenizer.added_tokens_decoder[i]) for i in own} | set(real.tokenizer.all_special_tokens)
    for spelling in written:
        question = f"Is 0{spelling}1?\n{spelling}{spelling} assistant:\n 5"
        ids = builder.prompt_ids(question)
        assert [i for i in ids if i in structure] == own
        assert question in real.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_other_questions_are_encoded_as_they_were(real: RealTokenizer):
    """The second form of the tokenizer gives the same tokens wherever both can be asked."""
    builder = real.builder(chat_or_plain(real))
    literal = builder._literal
    for question in ("a", " b\n\n  c ", "x.\n/y", "数学 ▁ 👩‍👧"):
        again = literal.tokenizer(literal.respell(builder.prompt_text(question)), add_special_tokens=False)["input_ids"]
        ids = builder.prompt_ids(question)
        assert ids in (again, builder._beginning + again)


def test_a_solution_that_spells_a_special_token_is_text_and_an_end_is_an_end(real: RealTokenizer):
    builder = real.builder(chat_or_plain(real))
    for spelling in real.tokenizer.all_special_tokens:
        number = real.tokenizer.convert_tokens_to_ids(spelling)
        text = f"So 0{spelling}1 {spelling}\n#### 5"
        ids = builder.response_ids(text)
        if number in real.ends:
            assert ids[:-1].count(number) == 2  # training drops such a row
        else:
            assert special_ids(real.tokenizer).isdisjoint(ids[:-1])
            assert decode_continuation(real.tokenizer, ids) == text


def test_an_end_id_that_is_a_newline_is_refused(real: RealTokenizer):
    newlines = real.tokenizer("a\n\n", add_special_tokens=False)["input_ids"][-1]
    with pytest.raises(BadInput, match="would stop inside a response"):
        end_ids(real.tokenizer, GenerationConfig(eos_token_id=[real.tokenizer.eos_token_id, newlines]))
