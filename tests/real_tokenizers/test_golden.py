"""Prompts and responses of each tokenizer, as text that a reader can judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from syrupy.assertion import SnapshotAssertion

from misstep.credit.steps import StepCutter
from misstep.errors import BadInput
from misstep.generation.fingerprint import fingerprint
from misstep.generation.prompts import check_taught_end
from misstep.plan.params import PromptParams
from tests.real_tokenizers.models import RealTokenizer

QUESTION = "Ann has 2 apples and buys 3 more.  How many?"
SOLUTION = "She buys 3, so $2 + 3 = \\boxed{5}$. That is <<2+3=5>>5 apples.\n\n  Two spaces first, 数学.\n#### 5"
CHATS: dict[str, dict[str, Any]] = {
    "system and examples": {"system": "Be brief.", "examples": (("What is 1 + 1?", "1 + 1 = 2\n#### 2"),)},
    "no thinking": {"template_arguments": {"enable_thinking": False}},
}


def page(real: RealTokenizer) -> Iterator[str]:
    reading, builder = real.reading, real.plain
    yield f"read by {reading.by}; class {reading.class_name}; used as {type(real.tokenizer).__name__}"
    yield f"fingerprint {fingerprint(real.tokenizer)}"
    yield from (f"note: {note}" for note in reading.notes)
    yield f"ends: {', '.join(f'{token} ({i})' for i, token in _named(real))}"
    check_taught_end(builder, real.ends)
    yield f"plain prompt: {_shown(real, builder.prompt_ids(QUESTION))}"
    response = builder.response_ids(SOLUTION)
    yield f"response: {' '.join(real.tokens(response))}"
    for rule in ("lines", "sentences"):
        steps = StepCutter(real.pieces, rule, 16).cut(response)
        found = zip(steps.texts, steps.ends, strict=True)
        yield f"steps by {rule}: {' | '.join(f'{text!r} to {end}' for text, end in found)}"
    for name, arguments in CHATS.items():
        yield f"chat, {name}: {_chat(real, PromptParams(style='chat', template='{question}', **arguments))}"


def _named(real: RealTokenizer) -> Iterator[tuple[int, str]]:
    ends = sorted(real.ends)
    return zip(ends, real.tokens(ends), strict=True)


def _shown(real: RealTokenizer, token_ids: list[int]) -> str:
    return f"{len(token_ids)} tokens, {real.tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)!r}"


def _chat(real: RealTokenizer, params: PromptParams) -> str:
    try:
        builder = real.builder(params)
        check_taught_end(builder, real.ends)
    except BadInput as error:
        return f"refused: {error}"
    end = real.tokens([builder.end_id])[0]
    return f"{_shown(real, builder.prompt_ids(QUESTION))}, answers end with {end}"


def test_a_tokenizer_as_a_page(real: RealTokenizer, snapshot: SnapshotAssertion):
    assert "\n".join(page(real)) == snapshot
