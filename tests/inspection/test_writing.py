from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from misstep.errors import BadInput
from misstep.inspection.writing import rehearse_writing, savable
from tests.inspection.folders import edit, model_folder, refused


def generation(folder, **changes):
    edit(folder / "generation_config.json", _from_model_config=None, **changes)
    return folder


def test_a_plain_folder(folder):
    rehearsal = rehearse_writing(folder)
    assert not rehearsal.left_out
    assert not rehearsal.unusual


def test_the_folder_itself_is_left_as_it_is(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    rehearse_writing(generation(folder))
    before["generation_config.json"] = (folder / "generation_config.json").read_bytes()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize(
    "stray",
    [
        {"temperature": 0.9, "top_p": 0.6, "do_sample": False},
        {"temperature": 0.6, "top_k": 20},
        {"early_stopping": True, "length_penalty": 2.0},
        {"output_scores": True},
        {"use_cache": False, "cache_implementation": "static"},
    ],
)
def test_fields_without_effect_are_left_out(folder, stray):
    rehearsal = rehearse_writing(generation(folder, **stray))
    kept = {"do_sample", "use_cache"}
    assert rehearsal.left_out == {name: value for name, value in stray.items() if name not in kept}
    assert all(name in rehearsal.unusual[0] for name in rehearsal.left_out)


def test_a_folder_without_generation_config_whose_config_holds_its_fields(folder):
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", temperature=0.7, do_sample=False)
    assert rehearse_writing(folder).left_out == {"temperature": 0.7}


def test_fields_with_effect_stay(folder):
    assert not rehearse_writing(generation(folder, temperature=0.6, top_p=0.95, do_sample=True)).left_out


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"num_return_sequences": 4}, "num_return_sequences"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"early_stopping": "soon"}, "early_stopping"),
        ({"cache_implementation": "mine"}, "cache_implementation"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"eos_token_id": [1, "</s>"]}, "eos_token_id"),
        ({"logits_processor": ["mine"]}, "logits_processor"),
    ],
)
def test_what_is_wrong_in_another_way_is_refused_with_its_field(folder, wrong, word):
    refused(rehearse_writing, generation(folder, **wrong), word, "generation_config.json")


SAMPLING = {
    "temperature": st.sampled_from([0.3, 1.0, 1.7]),
    "top_p": st.sampled_from([0.5, 1.0]),
    "top_k": st.sampled_from([0, 20, 50]),
    "min_p": st.sampled_from([0.0, 0.1]),
    "typical_p": st.sampled_from([0.5, 1.0]),
    "do_sample": st.sampled_from([True, False]),
    "num_beams": st.sampled_from([1, 3]),
    "length_penalty": st.sampled_from([0.5, 1.0]),
    "early_stopping": st.sampled_from([True, False]),
    "output_scores": st.booleans(),
    "pad_token_id": st.sampled_from([0, -1]),
    "repetition_penalty": st.sampled_from([1.0, 1.2]),
}


@given(st.fixed_dictionaries({}, optional=SAMPLING))
def test_whatever_is_left_out_the_rest_is_kept_and_can_be_written(tmp_path_factory, fields):
    made = GenerationConfig(eos_token_id=1, **fields)
    before = made.to_dict()
    cleaned, left_out = savable(made, tmp_path_factory.getbasetemp())
    cleaned.validate(strict=True)
    assert made.to_dict() == before
    for name, value in fields.items():
        assert name in left_out or getattr(cleaned, name) == value
    assert not {"do_sample", "num_beams", "repetition_penalty", "eos_token_id"} & left_out.keys()
    if fields.get("do_sample"):
        assert not {"temperature", "top_p", "top_k", "min_p", "typical_p"} & left_out.keys()


def test_the_written_model_generates_as_the_one_that_it_came_from(folder, tmp_path):
    from misstep.training.export import InitialModel, export_model

    generation(folder, temperature=0.9, top_p=0.6, do_sample=False)
    start = InitialModel.load(folder)
    export_model(start, start.model, "float32", [[3, 4, 5]], tmp_path / "out")
    written = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert not {"temperature", "top_p"} & written.keys()
    before, after = (AutoModelForCausalLM.from_pretrained(place) for place in (folder, tmp_path / "out"))
    prompt = AutoTokenizer.from_pretrained(folder)("w3 w4 w5", return_tensors="pt")
    prompt.pop("token_type_ids", None)
    assert before.generate(**prompt, max_new_tokens=8).tolist() == after.generate(**prompt, max_new_tokens=8).tolist()


# Settings that come back as others


def test_a_tokenizer_that_comes_back_as_another(folder, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    true = PreTrainedTokenizerFast.save_pretrained

    def spoil(self, place, *args, **kwargs):
        saved = true(self, place, *args, **kwargs)
        edit(place / "tokenizer_config.json", eos_token="w3")
        return saved

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", spoil)
    refused(rehearse_writing, folder, "eos_token", "'<eos>'", "'w3'")


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "gpt_neox", "mpt", "mamba", "deepseek_v3", "jamba", "gpt_oss"])
def test_configurations_of_many_kinds_come_back(tmp_path, kind):
    from transformers import AutoConfig

    from tests.generation.tiny import word_tokenizer

    folder = model_folder(tmp_path / "model")
    AutoConfig.for_model(kind).save_pretrained(folder)
    word_tokenizer(chat_template="{{ messages[0].content }}").save_pretrained(folder)
    assert not rehearse_writing(folder).left_out


def test_training_refuses_before_it_begins(folder):
    from misstep.training.export import InitialModel

    with pytest.raises(BadInput, match="max_new_tokens"):
        InitialModel.load(generation(folder, max_new_tokens=0))
