"""Chat templates of all known kinds: used correctly, or refused with the reason."""

from __future__ import annotations

import datetime

import pytest
from tokenizers import AddedToken

from misstep.errors import EXIT_BAD_INPUT, BadInput
from misstep.generation.ends import end_ids, end_of_turn_id, special_ids
from misstep.generation.prompts import PromptBuilder, check_taught_end
from misstep.generation.text import decode
from misstep.plan.params import PromptParams
from tests.generation.tiny import byte_tokenizer

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = TURNS + ASK
NO_HISTORY = "{% set m = messages[-1] %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n" + ASK
BLOCK = "<think>\n\n</think>\n\n"
THINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    + ("{% if m.role == 'assistant' and loop.last %}" + BLOCK + "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}")
    + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    + ("{% if enable_thinking is defined and not enable_thinking %}" + BLOCK + "{% endif %}{% endif %}")
)
OPEN_THINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}{% else %}<think>\n{% endif %}{% endif %}"
)
CHANNEL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.role == 'assistant' %}<|im_sep|>final{% endif %}\n"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
DATE = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHATML
DATE_STRING = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today is {{ date_string }}.\n" + CHATML
)


def tokenizer(template, *, special=True):
    built = byte_tokenizer()
    marks = ("<|im_start|>", "<|im_end|>", "<|im_sep|>")
    built.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
    built.chat_template = template
    return built


def builder(chat_template, *, ends=(), special=True, **prompt):
    given = {"style": "chat", "template": "{question}"} | prompt
    return PromptBuilder(tokenizer(chat_template, special=special), PromptParams(**given), ends)


def refused(template, *words, **prompt):
    with pytest.raises(BadInput) as caught:
        builder(template, **prompt)
    assert caught.value.exit_code == EXIT_BAD_INPUT
    assert caught.value.field.startswith("spec.policy.prompt")
    for word in words:
        assert word in str(caught.value)


def test_the_end_of_a_turn_needs_no_role():
    found = builder(CHATML)
    end = found.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end not in found.tokenizer.all_special_ids or end in special_ids(found.tokenizer)
    assert found.end_id == found.response_ids("ab")[-1] == end
    assert end in end_ids(found.tokenizer, None)


def test_an_end_of_a_turn_that_is_not_special_must_be_an_end_token():
    plain = tokenizer(CHATML, special=False)
    end = plain.convert_tokens_to_ids("<|im_end|>")
    assert end not in special_ids(plain)
    found = builder(CHATML, special=False, ends=[end])
    assert found.response_ids("ab")[-1] == end
    assert decode(plain, found.response_ids("ab")[:-1]) == "ab"
    refused(CHATML, "'<|im_end|>", "not an end token", "eos_token_id", special=False)


def test_text_behind_an_answer_that_is_no_end_token_is_refused():
    refused(
        "{% for m in messages %}{{ m.role }}: {{ m.content }} END\n{% endfor %}assistant: ", "' END", "not an end token"
    )


def test_what_follows_an_answer_may_begin_with_a_space():
    template = (
        "{% for m in messages %}{{ m.role }} {{ m.content }} <eos>{% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    found = builder(template)
    assert found.end_id == found.tokenizer.eos_token_id


def test_an_end_id_that_is_text_is_refused():
    class Settings:
        eos_token_id = (1, 13)

    built = byte_tokenizer()
    assert end_ids(built, None) == {1}
    with pytest.raises(BadInput, match=r"spec\.policy\.model: eos_token_id 13 .* is the text"):
        end_ids(built, Settings())


def test_training_ends_where_sampling_stops():
    found = builder(CHATML)
    check_taught_end(found, end_ids(found.tokenizer, None))
    with pytest.raises(BadInput, match=r"<\|im_end\|>"):
        check_taught_end(found, {1})


def test_a_block_that_the_template_writes_belongs_to_the_prompt():
    found = builder(THINK)
    assert found.prompt_block == "<think>\n\n</think>\n\n"
    assert found.prompt_text("1 + 1").endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert decode(found.tokenizer, found.response_ids("ab")) == "ab"
    declared = builder(THINK, template_arguments={"enable_thinking": False})
    assert declared.prompt_block == ""
    assert declared.prompt_ids("1 + 1") == found.prompt_ids("1 + 1")
    assert declared.response_ids("ab") == found.response_ids("ab")
    assert builder(CHANNEL).prompt_text("?").endswith("<|im_start|>assistant<|im_sep|>final")


def test_an_open_think_block_is_refused_unless_an_argument_closes_it():
    refused(OPEN_THINK, "<think>", "leaves it open", "enable_thinking: false")
    assert builder(OPEN_THINK, template_arguments={"enable_thinking": False}).prompt_text("?").endswith("assistant\n")
    # Opened in front of an answer, and kept there in a conversation.
    kept = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif").replace(
        "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n{% endif %}{{ m.content }}"
    )
    refused(kept, "<think>", "leaves it open")


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>", "</think>"), ("<thinking>\n", "</thinking>"), ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|thinking|>", "<|/thinking|>"), ("<|START_THINKING|>", "<|END_THINKING|>"), ("◁think▷", "◁/think▷"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<reasoning>", "</reasoning>"),
    ],
)  # fmt: skip
def test_think_blocks_of_every_spelling(opened, closed):
    template = CHATML.replace("assistant\n{% endif", "assistant\n" + opened + "{% endif")
    refused(template, "leaves it open")
    # Closed at once, and written before answers of the conversation too.
    block = opened + closed
    answers = "{% if m.role == 'assistant' %}" + block + "{% endif %}{{ m.content }}"
    shut = CHATML.replace("assistant\n{% endif", "assistant\n" + block + "{% endif").replace("{{ m.content }}", answers)
    assert builder(shut).prompt_text("?").endswith(block)


def test_what_only_a_chat_template_reads_is_refused_elsewhere():
    for name, given in (("system", "Be brief."), ("templateArguments", {"a": 1})):
        key = "system" if name == "system" else "template_arguments"
        refused(CHATML, f"spec.policy.prompt.{name}", "style: chat", style="plain", **{key: given})


def test_a_question_may_speak_of_thinking():
    assert builder(CHATML, template="What does <think> mean? {question}").prompt_text("?")


@pytest.mark.parametrize("day", ["2024-07-26", "1999-12-31"])
def test_the_day_is_declared_or_refused(day):
    refused(DATE, "Today is", "strftime_now", "templateArguments")
    refused(DATE_STRING, "Today is", "date_string", "templateArguments")
    found = builder(DATE, template_arguments={"strftime_now": day})
    assert found.prompt_text("?").startswith(f"Today is {datetime.date.fromisoformat(day):%d %b %Y}.")
    assert (
        builder(DATE_STRING, template_arguments={"date_string": "26 Jul"})
        .prompt_text("?")
        .startswith("Today is 26 Jul.")
    )
    refused(DATE, "YYYY-MM-DD", template_arguments={"strftime_now": "yesterday"})


@pytest.mark.parametrize(
    "template",
    [
        "It is {{ strftime_now('%A') }}.\n" + CHATML,
        "It is {{ strftime_now('%H:%M') }}.\n" + CHATML,
        "{% if strftime_now('%Y') | int > 2030 %}Late{% else %}Early{% endif %}.\n" + CHATML,
        CHATML + "{% if strftime_now('%A') == 'Tuesday' %}Well{% endif %}",  # one text is the beginning of the other
    ],
    ids=["day of the week", "time", "years to come", "at the end"],
)
def test_all_that_a_clock_shows_is_declared_or_refused(template):
    refused(template, "templateArguments", "strftime_now")
    builder(template, template_arguments={"strftime_now": "2024-07-26"})


@pytest.mark.parametrize(
    "change", ["| e", "[:200]", "| replace('\\n', ' ')", "| tojson", "| truncate(200)"], ids=lambda text: text[:9]
)
def test_a_template_that_changes_what_a_question_or_an_answer_may_hold_is_refused(change):
    refused(CHATML.replace("m.content", f"m.content {change}"), "not in the prompt")


def test_a_template_that_changes_what_an_answer_may_hold_is_refused():
    escaped = "{% if m.role == 'assistant' %}{{ m.content | e }}{% else %}{{ m.content }}{% endif %}"
    refused(CHATML.replace("{{ m.content }}", escaped), "leaves out the answer")


def test_chance_is_refused():
    refused("{{ ['a', 'b'] | random }}" + CHATML, "a different text each time")
    refused("{{ range(100000) | random }}{{ range(100000) | random }}" + CHATML, "a different text each time")


@pytest.mark.parametrize(
    ("template", "prompt", "words"),
    [
        (CHATML.replace("in messages", "in messages | rejectattr('role', 'equalto', 'system') | list"),
         {"system": "Be brief."}, ("Be brief.", "system text", "not in")),
        (NO_HISTORY, {"examples": (("1 + 1", "2"),)}, ("1 + 1", "not in")),
        (CHATML.replace("m.content", "m.content | upper"), {}, ("What is", "question", "not in")),
        (CHATML.replace("messages", "messages | reverse"), {"examples": (("1 + 1", "2"),)}, ("misplaced",)),
    ],
    ids=["no system", "no history", "changed question", "reversed"],
)  # fmt: skip
def test_a_message_that_is_left_out_or_moved_is_refused(template, prompt, words):
    refused(template, *words, **prompt)


def test_a_template_without_a_generation_prompt_is_refused():
    refused(TURNS, "add_generation_prompt", "<|im_start|>assistant")


def test_a_prompt_that_is_not_the_beginning_of_the_conversation_is_refused():
    refused(TURNS + "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}", "not the beginning", "model")


def test_a_block_that_depends_on_the_answer_is_refused():
    counted = CHATML.replace(
        "{{ m.content }}", "{% if m.role == 'assistant' %}({{ m.content | length }}) {% endif %}{{ m.content }}"
    )
    refused(counted, "depends on the answer")


def test_an_answer_that_the_template_drops_is_refused():
    refused("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}A: ", "leaves out")


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no such turn') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{% for m in messages %}",
        "{{ messages | tojson(indent='x') }}",
        "{{ undefined_function() }}",
        "",
    ],
)
def test_whatever_a_template_raises_is_bad_input(template):
    with pytest.raises(BadInput, match="chat template"):
        builder(template)


def test_only_declared_arguments_reach_the_template():
    template = "{{ 'Be ' + tone if tone is defined else '' }}" + CHATML
    assert builder(template).prompt_text("?").startswith("<|im_start|>user")
    assert builder(template, template_arguments={"tone": "kind"}).prompt_block == ""
    assert builder(template, template_arguments={"tone": "kind"}).prompt_text("?").startswith("Be kind<|im_start|>user")


def test_the_turns_end_is_found_without_the_prompt():
    built = tokenizer(CHATML)
    assert end_of_turn_id(built, special_ids(built)) == built.convert_tokens_to_ids("<|im_end|>")
    built.chat_template = "{{ raise_exception('no') }}"
    assert end_of_turn_id(built, special_ids(built)) is None
    built.chat_template = None
    assert end_of_turn_id(built, special_ids(built)) is None
