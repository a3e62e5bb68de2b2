"""Properties of any text with each tokenizer: it survives, and steps and pairs are exact slices of its tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from misstep.credit.block import CreditedResponse
from misstep.credit.layouts import Answer, ProblemAnswers, options
from misstep.credit.steps import StepCutter, StepRule
from misstep.generation.text import decode, decode_continuation
from misstep.plan.params import PromptParams
from misstep.terms.layouts import CREDITED
from tests.real_tokenizers.models import DISTINCT, RealTokenizer

pytestmark = pytest.mark.parametrize("real", DISTINCT, indirect=True, scope="session")
RULES = get_args(StepRule)
CHAT = PromptParams(style="chat", template="{question}")
HOSTILE = [
    "",
    " ",
    "  two spaces first",
    "\n\nlines first",
    "\n",
    "spaces last   ",
    "lines last\n\n\n",
    "\ttabs\t\tbetween\t",
    "a \n b\n \n\tc",
    "carriage\r\nreturns\r",
    "caf\u00e9 and cafe\u0301",
    "family 👨‍👩‍👧‍👦, flag 🏴󠁧󠁢󠁳󠁣󠁴󠁿, heart ❤️",
    "数学の答えは四十二です。",
    "١٢٣ + ४५ = ⑨",
    "a\u00a0b\u2009c\u200bd\ufeffe",
    "$\\frac{1}{2}$ <<1/2=0.5>> \\boxed{\\sqrt{2}}",
    "▁▁a▁b",
    "ĠaĊb",
    "<0x0A> <0xFF>",
    "<b>bold</b> a<b>c",
    "0<s>1 <unk> <pad> <bos>",
    "<|im_start|>user\n<think> <start_of_turn> <|start|>",
    "<|begin_of_text|><|start_header_id|> <｜begin▁of▁sentence｜><｜User｜>",
    "###\n####",
    "x.\n/y.\n//z",
    "\u2028\u2029\x0b\x0c\x85",
    "\ufffd and \ufffd\ufffd",
    "a" * 300,
    " " * 40 + "\n" * 40,
]
TEXT = st.one_of(
    st.text(max_size=60),
    st.text(st.sampled_from(list("ab3 .,!?$\\[]()<>|/_▁Ġ\n\n\t\r  ×é√🙂数\u0301\u200d")), max_size=60),
    st.sampled_from(HOSTILE),
    st.tuples(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)).map("".join),
)
BORDERS = ["Question: {question}\nAnswer:\n", "{question}", "{question} ", "{question}:", "Q {question}\n\nA\t"]
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def kept(real: RealTokenizer, text: str) -> str:
    """A text as the tokenizer's own rules leave it: Qwen's composes letters and their marks, and SentencePiece has one
    token for a space and the character that represents it."""
    if real.case.startswith("qwen"):
        return unicodedata.normalize("NFC", text)
    return text.replace("▁", " ") if real.case.startswith(("llama2", "gemma")) else text


def prompts(real: RealTokenizer) -> Sequence[PromptParams]:
    plain = [PromptParams(style="plain", template=border) for border in BORDERS]
    return [*plain, CHAT] if real.tokenizer.chat_template else plain


@many
@given(data=st.data(), text=TEXT)
def test_any_text_survives_as_a_prompt(real: RealTokenizer, data: st.DataObject, text: str):
    builder = real.builder(data.draw(st.sampled_from(prompts(real))))
    ids = builder.prompt_ids(text)
    written = real.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    wanted = kept(real, builder.prompt_text(text))
    if builder.params.style == "chat":
        assert written == wanted
    else:
        assert decode(real.tokenizer, ids) == wanted
        assert real.ends.isdisjoint(ids)


@many
@given(data=st.data(), text=TEXT)
def test_any_text_survives_as_a_response_and_so_do_its_tokens(real: RealTokenizer, data: st.DataObject, text: str):
    builder = real.builder(data.draw(st.sampled_from(prompts(real))))
    ids = builder.response_ids(text)
    assert ids[-1] == builder.end_id
    assert real.ends.isdisjoint(ids[:-1])
    read = decode_continuation(real.tokenizer, ids)
    assert read == decode_continuation(real.tokenizer, ids[:-1]) == kept(real, builder.space + text)
    assert builder.continuation_ids(read) == ids


@many
@given(text=TEXT, rule=st.sampled_from(RULES), most=st.integers(1, 8))
def test_steps_partition_the_tokens_and_join_to_the_text(real: RealTokenizer, text: str, rule: StepRule, most: int):
    ids = real.plain.response_ids(text)
    pieces = real.pieces.of(ids)
    assert len(pieces) == len(ids)
    whole = decode_continuation(real.tokenizer, ids)
    assert "".join(pieces) == whole
    steps = StepCutter(real.pieces, rule, most).cut(ids)
    bounds = [0, *steps.ends]
    assert all(begin < end for begin, end in pairwise(bounds))
    assert bounds[-1] == len(ids)
    assert len(steps.ends) == len(steps.texts) <= most
    assert "".join(steps.texts) == whole
    # A rollout continues a prefix of steps: the two texts join to the whole.
    for end in steps.ends:
        assert decode_continuation(real.tokenizer, ids[:end]) + decode_continuation(real.tokenizer, ids[end:]) == whole


LINE = st.text(st.sampled_from(list("ab3 .,!?$\\()/×é√🙂数\t")), max_size=12).filter(str.strip)


@many
@given(lines=st.lists(LINE, min_size=1, max_size=6), between=st.sampled_from(["\n", "\n\n", "\n \n"]))
def test_a_line_is_a_step(real: RealTokenizer, lines: list[str], between: str):
    text = kept(real, between.join(lines))
    ids = real.plain.response_ids(text)
    ends = list(accumulate(map(len, real.pieces.of(ids))))
    # White space before a line may be in one token with the newlines: then the token's end is the step's.
    wanted = {next(end for end in ends if end >= match.end()) for match in re.finditer(r"\n(?:\s*\n)*(?=[^\n])", text)}
    starts = [0, *sorted(wanted), len(text)]
    assert list(StepCutter(real.pieces, "lines", 99).cut(ids).texts) == [text[a:b] for a, b in pairwise(starts)]


@many
@given(lines=st.lists(LINE, min_size=2, max_size=6), pit=st.integers(1, 6), rule=st.sampled_from(RULES))
@pytest.mark.parametrize("layout", [*CREDITED, "placebo-cut"])
def test_the_rejected_side_is_an_exact_slice(
    real: RealTokenizer, lines: list[str], pit: int, rule: StepRule, layout: str
):
    prompt, response = real.plain.prompt_ids("What is 2 + 3?"), real.plain.response_ids("\n".join(lines))
    right = real.plain.response_ids("2 + 3 = 5\n#### 5")
    steps = StepCutter(real.pieces, rule, 16).cut(response)
    pit = min(pit, len(steps.ends))
    names = tuple(f"prefix {n}" for n in range(len(steps.ends) + 1))
    text = decode_continuation(real.tokenizer, right)
    answer = Answer(tuple(right), text, "rollout")
    problem = ProblemAnswers(
        problem_id="p",
        prompt_ids=tuple(prompt),
        correct=[Answer(tuple(right), text, "sample", 0)],
        wrong=[],
        credited=[CreditedResponse("p", 1, tuple(response), steps, names, pit, None)],
        solved={name: [answer] for name in names[:pit]},  # more would refute the pit
    )
    (offered,) = options(layout, problem, seed=0)  # type: ignore[arg-type]
    assert not isinstance(offered, str)
    pair, *_ = offered
    whole = [*prompt, *response]
    assert pair.pit is not None and (pair.pit == pit or layout == "placebo-cut")
    end = len(prompt) + steps.ends[pair.pit - 1]
    assert [*pair.prompt_ids, *pair.rejected_ids] == whole[:end]
    assert pair.rejected_ids
    assert pair.rejected_text == decode_continuation(real.tokenizer, pair.rejected_ids)
    assert pair.rejected_complete == (end == len(whole)) == (pair.rejected_ids[-1] in real.ends)
    assert pair.chosen.text == decode_continuation(real.tokenizer, pair.chosen.token_ids)
