from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from misstep.errors import EXIT_BAD_INPUT, BadInput
from misstep.generation.engine import Request
from misstep.generation.engines import open_engine
from misstep.generation.loading import context_length_of
from misstep.generation.transformers_engine import load_engine
from misstep.plan.frozen import Resources
from tests.generation.tiny import decoding, tiny, word_tokenizer


@pytest.fixture
def folder(tmp_path):
    tiny().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def change_json(path, **changes):
    held = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def refused(folder, **changes):
    with pytest.raises(BadInput) as caught:
        load_engine(folder, decoding(**changes), batch_rows=2)
    assert caught.value.exit_code == EXIT_BAD_INPUT
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_whole_folder_loads_in_the_wanted_type(folder, dtype):
    engine = load_engine(folder, decoding(dtype=dtype), batch_rows=2, threads=torch.get_num_threads())
    assert engine._model.dtype == getattr(torch, dtype)
    engine.submit(Request(0, [5, 6], [1, 2, 3]))
    ((_, completions),) = engine.results()
    assert len(completions) == 3


def test_with_gpus_the_model_runs_on_one(folder, monkeypatch):
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(PreTrainedModel, "to", lambda model, where: moved.append(where) or model)
    open_engine(folder, decoding(), Resources(gpus=1, batch_rows=2))
    assert moved == ["cuda"]
    moved.clear()
    open_engine(folder, decoding(), Resources(batch_rows=2))
    assert not moved


def test_gpus_that_torch_does_not_find_are_refused(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="finds no GPU here"):
        open_engine(folder, decoding(), Resources(gpus=1, batch_rows=2))


def test_no_folder(tmp_path):
    assert "config.json" in refused(tmp_path / "nowhere")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused(folder)


def test_damaged_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "cut off" in refused(folder)


def test_weights_that_are_not_whole_are_not_filled_with_random_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refused(folder)


def test_weights_that_the_model_does_not_use(folder):
    weights = load_file(folder / "model.safetensors") | {"score.weight": torch.ones(1, 32)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "score.weight" in refused(folder)


def test_weights_of_another_shape(folder):
    change_json(folder / "config.json", intermediate_size=40)
    assert str(folder) in refused(folder)


def test_no_known_model(folder):
    change_json(folder / "config.json", model_type="no-such-model")
    refused(folder)


def test_a_value_of_the_wrong_type(folder):
    change_json(folder / "config.json", num_hidden_layers="two")
    assert "num_hidden_layers" in refused(folder)


def test_not_a_language_model(folder):
    change_json(folder / "config.json", model_type="vit", architectures=["ViTModel"])
    refused(folder)


def test_no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "tokenizer" in refused(folder)


def test_no_end_token(folder):
    change_json(folder / "tokenizer_config.json", eos_token=None)
    assert "end token" in refused(folder)


def test_unsupported_type(folder):
    params = decoding().model_copy(update={"dtype": "float16"})
    with pytest.raises(BadInput, match="float32, bfloat16"):
        load_engine(folder, params, batch_rows=2)


def test_context_length_is_the_models_else_the_tokenizers():
    assert context_length_of(tiny().config, word_tokenizer(model_max_length=9)) == 64
    silent = SimpleNamespace(name_or_path="x", get_text_config=lambda decoder: SimpleNamespace())
    assert context_length_of(silent, word_tokenizer(model_max_length=9)) == 9
    with pytest.raises(BadInput, match="max_position_embeddings"):
        context_length_of(silent, word_tokenizer())
