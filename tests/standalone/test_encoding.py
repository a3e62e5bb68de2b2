"""Text becomes tokens once, and comes back exactly: in a chat, with spaces, with special tokens in the text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.credit.trl_rows import PromptText
from misstep.generation.prompts import PromptBuilder, usual_prompt
from misstep.standalone.encoding import CHANGED, TOO_LONG, Encoder
from misstep.standalone.rows import Given
from tests.generation.tiny import END, byte_tokenizer
from tests.standalone.test_parts import params

CHAT = (
    "{% for m in messages %}<eos>{{ m['role'] }}: {{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<eos>assistant:{% endif %}"
)
MERGES = [("3", "."), ("a", "b"), (".", "Ċ")]


def encoder(context: int = 10_000, most: int = 1000, chat: bool = False, **changes: Any) -> tuple[Encoder, Any]:
    tokenizer = byte_tokenizer(MERGES, **({"chat_template": CHAT} if chat else {}))
    builder = PromptBuilder(tokenizer, usual_prompt(tokenizer), {END})
    credit = params(**changes)
    credit = credit.model_copy(update={"decoding": credit.decoding.model_copy(update={"max_new_tokens": most})})
    return Encoder(builder, frozenset({END}), context, credit), builder


@pytest.mark.parametrize("chat", [False, True])
@given(steps=st.lists(st.text("ab3.\n ü√", max_size=6), min_size=1, max_size=4))
def test_steps_and_text_come_back_exactly(chat: bool, steps: list[str]) -> None:
    text = "".join(steps)
    if not text.strip():
        return
    made, builder = encoder(chat=chat)
    prompt, changed = made.prompt("How many <eos> are there?")
    assert not changed
    ends = tuple(len("".join(steps[: n + 1])) for n in range(len(steps)))
    for given_response in (Given("line 1", 0, text), Given("line 1", 0, text, ends)):
        found = made.response(given_response, prompt)
        assert found.problem is None
        assert found.token_ids[-1] == END
        added = "" if text.startswith(builder.space) else builder.space
        assert found.text == added + text == "".join(found.steps.texts)
        assert found.steps.ends[-1] == len(found.token_ids)
    assert found.given is not None
    assert len(found.given) == len(steps)


def test_the_chat_template_writes_a_space_that_the_text_may_hold_already() -> None:
    made, builder = encoder(chat=True)
    assert builder.space == " "
    prompt, _ = made.prompt("1+1?")
    assert made.response(Given("line 1", 0, "ab 3"), prompt) == made.response(Given("line 1", 0, " ab 3"), prompt)
    assert PromptText(builder.tokenizer).of(prompt) == builder.prompt_text("1+1?")


def test_an_end_token_in_the_text_is_told() -> None:
    made, _ = encoder()
    found = made.response(Given("line 1", 0, "so 3 <eos> and 4"), made.prompt("1+1?")[0])
    assert found.problem == CHANGED
    assert "<eos>" in found.difference


def test_what_does_not_fit_is_too_long() -> None:
    prompt = encoder()[0].prompt("1+1?")[0]
    response = Given("line 1", 0, "ab" * 4)
    assert (
        encoder()[0].response(response, prompt).token_ids[:-1]
        == encoder(most=5)[0].response(response, prompt).token_ids[:-1]
    )
    assert encoder(most=4)[0].response(response, prompt).problem == TOO_LONG
    assert encoder(context=len(prompt) + 5)[0].response(response, prompt).problem == TOO_LONG
    assert encoder(context=len(prompt) + 6)[0].response(response, prompt).problem is None
