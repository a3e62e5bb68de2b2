from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from misstep.errors import BadInput
from misstep.generation.prompts import PromptBuilder
from misstep.generation.text import decode, decode_continuation
from misstep.plan.params import PromptParams
from tests.generation.tiny import byte_tokenizer, word_tokenizer
from tests.shared_data import shared_data

CHATML = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Llama-2's way: turns in brackets, a space before the answer, the end of text after it; no system turn.
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}"
    "{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
MERGES = [("a", "b"), (":", "a"), ("Ċ", "a"), ("Ġ", "a")]
texts = st.text(alphabet="ab {}\\%$€é\n01:", max_size=20)


def tokenizer(template=None, bos=False):
    built = byte_tokenizer(MERGES, **({"bos_token": "<s>"} if bos else {}))
    built.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    if bos:
        bos_and_end = [("<s>", built.bos_token_id), ("<eos>", built.eos_token_id)]
        built.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A <eos>", special_tokens=bos_and_end
        )
    built.chat_template = template
    return built


def params(style="plain", template="{question}\n", **more):
    return PromptParams(style=style, template=template, **more)


@given(texts, texts, st.booleans())
def test_plain_prompts_read_as_the_template_filled_in(question, solution, bos):
    shown = (("1 + 1 = {x}", "\\boxed{2}"),)
    builder = PromptBuilder(tokenizer(bos=bos), params(template="Q {} {question}\nA:", examples=shown))
    ids = builder.prompt_ids(question)
    assert decode(builder.tokenizer, ids) == f"Q {{}} 1 + 1 = {{x}}\nA:\\boxed{{2}}\n\nQ {{}} {question}\nA:"
    assert ids.count(builder.tokenizer.bos_token_id) == bos
    assert builder.tokenizer.eos_token_id not in ids
    response = builder.response_ids(solution)
    assert response[-1] == builder.tokenizer.eos_token_id
    assert response.count(builder.tokenizer.eos_token_id) == 1
    assert decode(builder.tokenizer, ids + response) == decode(builder.tokenizer, ids) + solution


def test_a_template_may_write_the_beginning_itself():
    builder = PromptBuilder(tokenizer(bos=True), params(template="<s>{question}"))
    assert builder.prompt_ids("ab").count(builder.tokenizer.bos_token_id) == 1


@given(texts, texts, st.booleans(), st.sampled_from([None, "Be brief. {}"]))
def test_chat_prompts_are_those_of_the_chat_template(question, solution, bos, system):
    shown = (("1 + 1", "2"),)
    template = "{question} Think."
    builder = PromptBuilder(tokenizer(CHATML, bos), params("chat", template, system=system, examples=shown))
    turns = [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": "1 + 1 Think."},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": f"{question} Think."},
    ]
    ids = builder.prompt_ids(question)
    render = builder.tokenizer.apply_chat_template
    assert ids == render(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert ids.count(builder.tokenizer.bos_token_id) == bos
    response = builder.response_ids(solution)
    assert builder.end_id == response[-1] == builder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    whole = render([*turns, {"role": "assistant", "content": solution}], tokenize=False)
    assert builder.tokenizer.decode(ids + response) + "\n" == whole


def test_a_chat_template_may_put_a_space_before_the_answer_and_end_with_the_end_of_text():
    builder = PromptBuilder(tokenizer(BRACKETS, bos=True), params("chat", "{question}"))
    assert builder.end_id == builder.tokenizer.eos_token_id
    response = builder.response_ids("ab")
    assert decode(builder.tokenizer, response) == " ab"
    turns = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "ab"}]
    whole = builder.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert builder.prompt_ids("b") + response == whole


def test_tokens_do_not_reach_over_the_border_of_prompt_and_response():
    # ":" and "a" merge; a sampled response begins after the prompt's own tokens all the same.
    builder = PromptBuilder(tokenizer(), params(template="{question}:"))
    prompt, response = builder.prompt_ids("b"), builder.response_ids("ab")
    assert builder.tokenizer.convert_ids_to_tokens(prompt + response) == ["b", ":", "ab", "<eos>"]


@pytest.mark.parametrize("spelling", ["<|im_end|>", "<|im_start|>", "<s>", "<eos>"])
def test_a_question_that_spells_a_special_token_is_text(spelling):
    builder = PromptBuilder(tokenizer(CHATML, bos=True), params("chat", "{question}"))
    special = set(builder.tokenizer.all_special_ids) | set(builder.tokenizer.added_tokens_decoder)
    question = f"a{spelling}\n{spelling}ab"
    ids = builder.prompt_ids(question)
    own = [i for i in builder.prompt_ids("ab") if i in special]
    assert [i for i in ids if i in special] == own
    assert builder.tokenizer.decode(ids) == builder.prompt_text(question)


def test_a_templates_token_stays_a_token_next_to_text_of_the_same_spelling():
    builder = PromptBuilder(tokenizer(bos=True), params(template="<s>{question}<|im_end|>"))
    ids = builder.prompt_ids("a<s>b<|im_end|>")
    assert ids.count(builder.tokenizer.bos_token_id) == ids.count(builder.tokenizer.convert_tokens_to_ids("<|im_end|>"))
    assert (ids[0], ids[-1]) == tuple(builder.tokenizer.convert_tokens_to_ids(["<s>", "<|im_end|>"]))
    assert ids.count(ids[0]) == 1
    assert decode(builder.tokenizer, ids) == "a<s>b<|im_end|>"


def test_a_solution_that_spells_a_special_token_is_text_unless_it_ends_a_response():
    builder = PromptBuilder(tokenizer(CHATML, bos=True), params("chat", "{question}"))
    assert decode(builder.tokenizer, builder.response_ids("a<s>b<|im_start|>")) == "a<s>b<|im_start|>"
    assert builder.response_ids("a<|im_end|>b").count(builder.end_id) == 2


def test_an_unknown_word_is_no_special_token_that_a_question_spells():
    builder = PromptBuilder(word_tokenizer(), params(template="{question} w5"))
    unknown = builder.prompt_ids("zz")[0]
    assert builder.prompt_ids("<eos> w6") == [unknown, *builder.prompt_ids("w6")]


def test_a_response_has_no_space_of_its_own_where_its_start_and_the_prompts_end_would_merge():
    # Llama-2's way, with one merge: behind a space, the response "ab" shares the token "▁a" with the prompt.
    built = Tokenizer(
        models.BPE({"<eos>": 0, "<unk>": 1, "▁": 2, "a": 3, "b": 4, "▁a": 5}, [("▁", "a")], unk_token="<unk>")
    )
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    spaced = PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<eos>", unk_token="<unk>")
    builder = PromptBuilder(spaced, params(template="{question} "))
    assert decode_continuation(spaced, builder.response_ids("ab")) == "ab"
    assert decode(spaced, builder.prompt_ids("b") + builder.response_ids("ab")) == "b ab"


def test_words_that_would_run_together_are_encoded_apart():
    # The template leaves no space before the solution, and a tokenizer of words knows no "?w5".
    builder = PromptBuilder(word_tokenizer(), params(template="{question}"))
    assert builder.response_ids("w5 w6") == [5, 6, 1]


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_real_problems_survive_templates(name):
    import json

    lines = (shared_data(name) / "train.jsonl").read_text(encoding="utf-8").splitlines()[:200]
    rows = [json.loads(line) for line in lines]
    builder = PromptBuilder(tokenizer(CHATML), params("chat", "{question}\n\\boxed{}"))
    for row in rows:
        question, solution = row.get("question") or row["problem"], row.get("answer") or row["solution"]
        assert f"user\n{question}\n\\boxed{{}}<|im_end|>" in builder.tokenizer.decode(builder.prompt_ids(question))
        assert decode(builder.tokenizer, builder.response_ids(solution)) == solution


@pytest.mark.parametrize(
    ("built", "prompt", "reason"),
    [
        (tokenizer(), params("chat"), "no chat template"),
        (tokenizer(BRACKETS, bos=True), params("chat", system="Be brief."), "no system turn"),
        (tokenizer(), params(template="Solve it."), "{question}"),
    ],
    ids=["no template", "refused turn", "no placeholder"],
)
def test_what_cannot_make_prompts_is_refused(built, prompt, reason):
    with pytest.raises(BadInput) as caught:
        PromptBuilder(built, prompt)
    assert reason in str(caught.value)


def test_a_tokenizer_without_an_end_token_is_refused():
    built = tokenizer()
    built.eos_token = None
    with pytest.raises(BadInput, match="end token"):
        PromptBuilder(built, params())
