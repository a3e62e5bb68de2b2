"""The complete check of a model: golden pages, refusals by field, the stage, the separate process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tokenizers import AddedToken

from misstep.artifacts.manifest import read_manifest
from misstep.errors import EXIT_BAD_INPUT, BadInput, MisstepError
from misstep.inspection import apart
from misstep.inspection.apart import inspect_apart
from misstep.inspection.model import Steps, inspect_model
from misstep.inspection.page import page
from misstep.inspection.text import check_survival, survival
from misstep.plan.params import PromptParams
from misstep.store.open import open_store
from tests.generation.test_chat import CHATML, OPEN_THINK, THINK
from tests.generation.tiny import byte_tokenizer, tiny, word_tokenizer
from tests.inspection.folders import edit, model_folder

PLAIN = PromptParams(style="plain", template="Question: {question}\nAnswer:\n")
CHAT = PromptParams(style="chat", template="{question}\nThink step by step.", system="Be brief.")


def byte_folder(folder, template=None, **changes):
    tokenizer = byte_tokenizer()
    marks = [AddedToken(mark, special=True, normalized=False) for mark in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_tokens(marks)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    tiny(vocab_size=len(tokenizer), **changes).save_pretrained(folder)
    return folder


def shown(folder, prompt, **more):
    return page(inspect_model(folder, prompt, **more)).replace(str(folder), "FOLDER")


def test_page_of_a_base_model(tmp_path, snapshot):
    assert shown(byte_folder(tmp_path), PLAIN) == snapshot


def test_page_of_a_chat_model_that_writes_an_empty_think_block(tmp_path, snapshot):
    assert shown(byte_folder(tmp_path, THINK), CHAT, steps=Steps("sentences", 2)) == snapshot


def test_page_of_a_class_that_loses_text_and_of_stray_settings(tmp_path, snapshot):
    folder = byte_folder(tmp_path, tie_word_embeddings=True)
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")
    edit(folder / "generation_config.json", temperature=0.6, do_sample=False, _from_model_config=None)
    assert shown(folder, PLAIN) == snapshot


def test_page_of_a_vocabulary_made_for_one_task(tmp_path, snapshot):
    problems = [("w5 w6", "w7 w8"), ("w5", "w9")]
    assert shown(model_folder(tmp_path), PromptParams(style="plain", template="{question} w2"), problems=problems) == (
        snapshot
    )


def test_a_teacher_has_no_prompt_of_ours(tmp_path):
    report = inspect_model(byte_folder(tmp_path, CHATML), None, model_field="spec.teacher.model.model")
    assert report.text is None
    assert "A prompt" not in page(report)


@pytest.mark.parametrize(
    ("break_it", "field", "word"),
    [
        (lambda f: (f / "config.json").unlink(), "spec.policy.model", "config.json"),
        (lambda f: edit(f / "tokenizer_config.json", eos_token=None), "spec.policy.model", "end token"),
        (lambda f: edit(f / "generation_config.json", eos_token_id=[1, 20]), "spec.policy.model", "eos_token_id 20"),
        (lambda f: (f / "chat_template.jinja").write_text(OPEN_THINK), "spec.policy.prompt", "<think>"),
        (lambda f: edit(f / "config.json", intermediate_size=40), "spec.policy.model", "mlp"),
        (lambda f: edit(f / "generation_config.json", eos_token_id=[1, -1]), "spec.policy.model", "[1, -1]"),
        (lambda f: edit(f / "config.json", hidden_size="x"), "spec.policy.model", "config.json does not load"),
        (lambda f: edit(f / "config.json", num_attention_heads=0), "spec.policy.model", "config.json does not load"),
        (lambda f: edit(f / "config.json", head_dim=0), "spec.policy.model", "config.json builds no"),
    ],
    ids=[
        "no config",
        "no end token",
        "end id is text",
        "open think",
        "misshapen",
        "end id below zero",
        "a size that is no number",
        "no heads",
        "heads of no size",
    ],
)
def test_refusals_name_the_field(tmp_path, break_it, field, word):
    folder = byte_folder(tmp_path, CHATML)
    break_it(folder)
    with pytest.raises(BadInput) as caught:
        inspect_model(folder, CHAT)
    assert caught.value.field.startswith(field)
    assert word in str(caught.value)


def test_an_ordinary_prompt_without_embeddings_is_refused_and_single_tokens_are_told(tmp_path):
    folder = byte_folder(tmp_path)
    tiny(vocab_size=100, eos_token_id=None, pad_token_id=None).save_pretrained(folder)
    with pytest.raises(BadInput, match="and the model has 100 embeddings"):
        inspect_model(folder, PLAIN)
    tokens = len(byte_tokenizer()) + 2
    tiny(vocab_size=tokens - 1, eos_token_id=None, pad_token_id=None).save_pretrained(folder)
    assert f"{tokens} tokens, and the model {tokens - 1} embeddings" in " ".join(inspect_model(folder, PLAIN).unusual)


def test_an_end_token_without_an_embedding_is_refused(tmp_path):
    folder = byte_folder(tmp_path)
    tiny(vocab_size=261, eos_token_id=None, pad_token_id=None).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken(f"<{i}>", special=True) for i in range(8)])
    tokenizer.eos_token = "<7>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(BadInput, match="'<7>' has id 265, and the model 261 embeddings"):
        inspect_model(folder, PLAIN)


def test_solutions_that_the_tokenizer_changes_are_counted_and_above_one_percent_refused(tmp_path):
    from misstep.generation.prompts import PromptBuilder

    builder = PromptBuilder(word_tokenizer(), PromptParams(style="plain", template="{question}"))
    fine, changed = ("w5", "w6 w7"), ("w5", "w6  w7")
    questions, solutions = survival(builder, [fine] * 99 + [changed])
    assert (questions.lost, solutions.lost, solutions.checked) == (0, 1, 100)
    check_survival(questions, solutions, "spec.policy.model")
    questions, solutions = survival(builder, [fine] * 97 + [changed] * 2)
    with pytest.raises(BadInput, match="changes 2 of 99 teacher solutions; 'w6  w7' becomes 'w6 w7'"):
        check_survival(questions, solutions, "spec.policy.model")
    questions, solutions = survival(builder, [("w5  w5", "w6")] * 9)
    with pytest.raises(BadInput, match="9 of 9 questions"):
        check_survival(questions, solutions, "spec.policy.model")


def request(folder, **more):
    return {"uri": str(folder), "model_field": "spec.policy.model", "prompt": PLAIN.model_dump(mode="json")} | more


def test_a_process_apart_reports_refuses_and_fails(tmp_path):
    folder = byte_folder(tmp_path)
    answer = inspect_apart(request(folder))
    assert answer["page"] == page(inspect_model(folder, PLAIN))
    assert answer["report"]["text"]["prompt"].startswith("Question: ")
    with pytest.raises(BadInput, match=r"spec\.policy\.model: .*nowhere"):
        inspect_apart(request(tmp_path / "nowhere"))
    with pytest.raises(MisstepError, match="the model check ended"):
        inspect_apart({"model_field": "spec.policy.model"})


@pytest.mark.slow
def test_a_folder_without_a_given_prompt_is_judged_before_its_tokenizer(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/base"}')
    guess = {"model_field": "spec.policy.model", "guess_prompt": True}
    with pytest.raises(BadInput, match=r"spec\.policy\.model: a LORA adapter of org/base"):
        inspect_apart({"uri": str(tmp_path), **guess})
    with pytest.raises(BadInput, match=r"spec\.policy\.model: no such folder"):
        inspect_apart({"uri": f"{tmp_path}/nothing", **guess})
    with pytest.raises(BadInput, match="misstep plan"):
        inspect_apart({"uri": "s3://bucket/model", **guess})


def test_a_template_that_never_ends_costs_its_process_alone(tmp_path, monkeypatch):
    folder = byte_folder(tmp_path)
    loops = "{% for i in range(99999) %}" * 4 + "{% endfor %}" * 4
    (folder / "chat_template.jinja").write_text(loops)
    monkeypatch.setattr(apart, "LIMIT_SECONDS", 25)
    with pytest.raises(BadInput, match="may never end"):
        inspect_apart(request(folder, prompt=CHAT.model_dump(mode="json")))


def misstep(*arguments):
    return subprocess.run([sys.executable, "-m", "misstep", *map(str, arguments)], capture_output=True, text=True)


def test_the_command_prints_the_page_and_refuses_with_its_code(tmp_path):
    folder = byte_folder(tmp_path / "model", CHATML)
    done = misstep("inspect-model", folder)
    assert done.returncode == 0, done.stderr
    assert "training ends with  <|im_end|>" in done.stdout
    done = misstep("inspect-model", folder, "--preset", "gsm8k-base", "--json")
    assert json.loads(done.stdout)["text"]["prompt"].startswith("Question: ")
    (folder / "chat_template.jinja").write_text(OPEN_THINK)
    done = misstep("inspect-model", folder)
    assert done.returncode == EXIT_BAD_INPUT
    assert done.stdout == ""
    assert done.stderr.startswith("error: spec.policy.prompt: ")
    assert "Traceback" not in done.stderr


def test_the_stage_keeps_the_page_and_refuses_before_anything_is_trained(tmp_path):
    from misstep.plan.frozen import External, FrozenStage, stage_key
    from misstep.plan.kinds import StageKind
    from misstep.plan.params import InspectParams
    from misstep.stages.shell import run_stage
    from misstep.store.description import Storage

    folder = byte_folder(tmp_path / "model", CHATML)
    storage = Storage(uri=f"file://{tmp_path}/store")

    def stage(prompt):
        params = InspectParams(prompt=prompt).model_dump(mode="json")
        externals = {"model": External(uri=str(folder), digest="unchecked")}
        key = stage_key(StageKind.INSPECT, params, {}, externals)
        return FrozenStage(
            kind=StageKind.INSPECT, name="inspect", key=key, params=params, externals=externals, storage=storage
        )

    good = stage(CHAT)
    run_stage(good, 0)
    manifest = read_manifest(open_store(storage), good.key)
    assert manifest is not None
    assert manifest.summary["model"]["text"]["end"] == "<|im_end|>"
    assert manifest.summary["model"]["folder"] == "unchecked"
    (folder / "chat_template.jinja").write_text(OPEN_THINK)
    with pytest.raises(BadInput, match=r"spec\.policy\.prompt"):
        run_stage(stage(PromptParams(style="chat", template="{question}")), 0)
