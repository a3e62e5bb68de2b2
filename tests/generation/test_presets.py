"""Named prompts: their contents, that their examples are right, and that base models stop where they should."""

from __future__ import annotations

import json
import typing
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from misstep.errors import BadInput
from misstep.generation.ends import end_ids
from misstep.generation.engine import Request
from misstep.generation.prompts import PromptBuilder
from misstep.generation.transformers_engine import TransformersEngine
from misstep.plan.frozen import External
from misstep.plan.kinds import StageKind
from misstep.plan.params import PromptParams
from misstep.plan.planner import plan
from misstep.plan.presets import CUSTOM, PRESETS, prompt_record
from misstep.plan.translate import Translator
from misstep.spec import parse_experiment
from misstep.spec.policy import Prompt
from misstep.terms.verdict import Verdict
from misstep.training.rows import sft_rows
from misstep.verification.verifier import AnswerFormat, Verifier
from tests.generation.tiny import END, decoding, tiny
from tests.shared_data import shared_data

FEW_SHOT = [name for name in PRESETS if name.endswith("few-shot")]


def experiment(prompt: object, sampling: object | None = None):
    spec: dict[str, Any] = {
        "problems": {"train": {"format": "strides", "limit": 400}, "test": {"format": "strides", "limit": 10}},
        "policy": {"model": {"path": "base"}, "prompt": prompt},
        "sampling": sampling or {},
    }
    spec["problems"]["sizes"] = [100]
    document = {"apiVersion": "misstep.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "e"}, "spec": spec}
    return parse_experiment(json.dumps(document))


def keys(made) -> list[str]:
    return [stage.key for stage in plan(made, {"model": External(uri="/m", digest="sha256:1")}).stages]


def test_the_spec_offers_every_preset():
    offered = typing.get_args(typing.get_args(Prompt.model_fields["preset"].annotation)[0])
    assert list(offered) == list(PRESETS)
    with pytest.raises(BadInput, match=r"spec\.policy\.prompt\.preset"):
        experiment({"preset": "gsm8k"})


@pytest.mark.parametrize("name", PRESETS)
def test_a_key_holds_the_text_and_not_the_name(name):
    preset = PRESETS[name]
    written = preset.prompt.model_dump(exclude={"tokenization"})
    written["examples"] = [{"question": q, "solution": s} for q, s in preset.prompt.examples]
    by_hand = experiment(written, {"stop": list(preset.stop)})
    assert keys(experiment({"preset": name})) == keys(by_hand)
    frozen = plan(experiment({"preset": name}), {"model": External(uri="/m", digest="sha256:1")})
    assert name not in "".join(json.dumps(stage.params) for stage in frozen.stages if stage.kind is StageKind.SAMPLE)
    assert prompt_record(Translator(by_hand.spec).prompt)["name"] == name


def test_what_is_written_out_replaces_the_presets():
    translated = Translator(experiment({"preset": "math-few-shot", "examples": []}, {"stop": ["END"]}).spec)
    assert translated.prompt == PRESETS["math-base"].prompt
    assert translated.decoding.stop == ("END",)
    none = Translator(experiment({"preset": "math-base", "template": "{question}"}, {"stop": []}).spec)
    assert (none.prompt.template, none.decoding.stop) == ("{question}", ())
    assert Translator(experiment({"preset": "gsm8k-base"}).spec).evaluation_decoding.stop[0] == "\n\nQuestion:"


def test_the_record_tells_prompts_apart():
    records = [prompt_record(preset.prompt) for preset in PRESETS.values()]
    assert [record["name"] for record in records] == list(PRESETS)
    assert len({record["sha256"] for record in records}) == len(PRESETS)
    other = prompt_record(PromptParams(style="plain", template="{question}\n"))
    assert other["name"] == CUSTOM
    assert other["sha256"] not in {record["sha256"] for record in records}


@pytest.mark.parametrize("name", FEW_SHOT)
def test_examples_are_right_and_hold_nothing_that_ends_a_response(name):
    preset = PRESETS[name]
    answer_format = AnswerFormat("hash" if name.startswith("gsm8k") else "boxed")
    golds = {"gsm8k-few-shot": ["19", "20", "6", "90"], "math-few-shot": ["7", "1/2", "30", str(3**11 % 8)]}[name]
    with Verifier(answer_format) as verifier:
        for (question, solution), gold in zip(preset.prompt.examples, golds, strict=True):
            assert verifier.judge_one(solution, gold).verdict is Verdict.CORRECT
            assert not any(stop in question + solution for stop in preset.stop)
            assert "\n\n" not in solution


@pytest.mark.parametrize(("name", "data"), [("gsm8k-few-shot", "gsm8k"), ("math-few-shot", "math")])
def test_examples_are_no_problems_of_the_data_sets(name, data):
    text = "".join(path.read_text() for path in shared_data(data).rglob("*.jsonl"))
    for question, _ in PRESETS[name].prompt.examples:
        assert json.dumps(question, ensure_ascii=False)[1:40] not in text


CONTINUATION = {
    "gsm8k-few-shot": "There are 3 + 4 = 7 birds.\n#### 7",
    "math-few-shot": "We have $3 + 4 = \\boxed{7}$.",
}


def trained_tokenizer(text):
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options: dict[str, Any] = {"vocab_size": 800, "special_tokens": ["<pad>", "<eos>"], "initial_alphabet": alphabet}
    core.train_from_iterator([text], trainers.BpeTrainer(show_progress=False, **options))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


@cache
def base_model(name):
    """A real tiny model that has learned to answer, and to continue with a next question, as base models do."""
    tokenizer = trained_tokenizer(json.dumps(PRESETS[name].prompt.model_dump(), ensure_ascii=False))
    builder = PromptBuilder(tokenizer, PRESETS[name].prompt)
    prompt = builder.prompt_ids("How many birds are 3 birds and 4 birds?")
    text = CONTINUATION[name] + PRESETS[name].stop[0] + " And now for"
    target = tokenizer(text)["input_ids"]
    model = tiny(vocab_size=len(tokenizer), hidden_size=64, max_position_embeddings=2048, initializer_range=0.1)
    ids = torch.tensor([[*prompt, *target]])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        logits = model(ids).logits[0, len(prompt) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
        if loss.item() < 0.02:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), tokenizer, builder, prompt


@pytest.mark.parametrize("name", FEW_SHOT)
def test_a_base_models_answer_ends_before_the_next_question(name):
    model, tokenizer, builder, prompt = base_model(name)
    preset = PRESETS[name]

    def answer(stop, limit=200):
        settings = decoding(temperature=0.0, stop=stop, max_new_tokens=limit)
        engine = TransformersEngine(model, tokenizer, settings, batch_rows=1)
        engine.submit(Request(0, prompt, [1]))
        ((_, (completion,)),) = engine.results()
        return completion

    found = answer(preset.stop)
    assert (found.text, found.finish_reason) == (CONTINUATION[name], "stop")
    assert tokenizer.decode(found.token_ids) == CONTINUATION[name] + preset.stop[0]
    with Verifier(AnswerFormat.AUTO) as verifier:
        assert verifier.judge_one(found.text, "7").verdict is Verdict.CORRECT
    # What it becomes as a positive: the text and an end token, no next question.
    (row,) = sft_rows(
        [(prompt, builder.response_ids(found.text))], end_ids(tokenizer, model.generation_config), 2048
    ).rows
    assert tokenizer.decode(row.input_ids[row.prompt_tokens :]) == CONTINUATION[name] + "<eos>"
    assert row.input_ids[-1] == END
    # Without stop strings it would have continued; with too few tokens it is cut off.
    assert answer((), len(found.token_ids) + 2).finish_reason == "length"
    assert answer(preset.stop, 8).finish_reason == "length"
