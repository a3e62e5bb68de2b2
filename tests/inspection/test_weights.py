from __future__ import annotations

import json
import os
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from misstep.errors import BadInput
from misstep.generation.loading import load_model
from misstep.inspection.weights import check_weights
from tests.generation.tiny import tiny, word_tokenizer
from tests.inspection.folders import edit_weights, model_folder, refused, renamed, shard, with_config

GPT2 = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "tie_word_embeddings": True}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}


def test_the_report(folder):
    report = check_weights(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    numbers = sum(weight.numel() for weight in model.parameters())
    assert (report.architecture, report.model_type) == ("LlamaForCausalLM", "llama")
    assert report.parameters == report.trained == numbers
    assert report.dtypes == {"float32": numbers}
    assert (report.context, report.embeddings) == (64, 24)
    assert report.files == ("model.safetensors",)
    assert report.bytes == (folder / "model.safetensors").stat().st_size
    assert not report.tied
    assert not report.unusual


def test_weights_in_shards(folder):
    whole = check_weights(folder)
    files = shard(folder)
    report = check_weights(folder)
    assert report.files == tuple(file.name for file in files)
    assert report.parameters == whole.parameters


def test_weights_of_torch(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    whole = check_weights(folder)
    (folder / "model.safetensors").unlink()
    assert check_weights(folder).parameters == whole.parameters


class Surprise:
    def __reduce__(self):
        return print, ("code of the folder runs",)


def test_weights_of_torch_run_no_code(folder, capsys):
    torch.save({"lm_head.weight": Surprise()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(check_weights, folder, "pytorch_model.bin", "safetensors")
    assert "runs" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("gpt2", GPT2),
        ("mixtral", EXPERTS),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
        ("gpt_neox", {}),
        ("gemma2", {"tie_word_embeddings": True}),
        ("phi3", {}),
        ("opt", {}),
        ("mpt", {}),
        ("mamba", {}),
        ("jamba", {}),
    ],
)
def test_what_transformers_writes_passes(tmp_path, kind, changes):
    folder = model_folder(tmp_path / "model", kind, **changes)
    report = check_weights(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert report.parameters == sum(weight.numel() for weight in model.parameters())
    assert bool(report.tied) == bool(model.all_tied_weights_keys)


# Forms of checkpoints that are right though names differ


def with_tied_head(tensors):
    return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}


def head_alone(tensors):
    return {k.replace("model.embed_tokens", "lm_head"): v for k, v in tensors.items()}


@pytest.mark.parametrize("change", [with_tied_head, head_alone])
def test_tied_weights_may_be_saved_under_both_names_or_either(tmp_path, change):
    folder = model_folder(tmp_path / "model", tie_word_embeddings=True)
    numbers = check_weights(folder).parameters
    edit_weights(folder, change)
    report = check_weights(folder)
    assert report.parameters == numbers
    assert report.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    load_model(folder, "float32")


def with_old_buffers(tensors):
    new = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(2)}
    return tensors | new | {"model.layers.0.self_attn.masked_bias": torch.tensor(-1e4)}


@pytest.mark.parametrize(
    "change", [renamed(lambda name: name.removeprefix("model.")), with_old_buffers], ids=["no-prefix", "buffers"]
)
def test_llama_checkpoints_of_before(folder, change):
    edit_weights(folder, change)
    check_weights(folder)
    load_model(folder, "float32")


def test_gpt2_checkpoints_of_before(tmp_path):
    folder = model_folder(tmp_path / "model", "gpt2", **GPT2)

    def change(tensors):
        old = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64) for i in range(2)}
        old |= {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
        return {name.removeprefix("transformer."): value for name, value in tensors.items()} | old

    edit_weights(folder, change)
    check_weights(folder)
    load_model(folder, "float32")


# Weights that do not fit


def without(*names):
    return lambda tensors: {k: v for k, v in tensors.items() if k not in names}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("lm_head.weight"), ("1 missing: lm_head.weight", "tie_word_embeddings")),
        (without("model.norm.weight", "model.layers.0.mlp.up_proj.weight"), ("2 missing", "model.norm.weight")),
        (lambda t: t | {"score.weight": torch.ones(1, 32)}, ("1 unused: score.weight", "classifier, reward")),
        (lambda t: t | {"v_head.summary.weight": torch.ones(1, 32)}, ("1 unused", "value model")),
        (lambda t: t | {"model.extra": torch.ones(3)}, ("1 unused: model.extra",)),
        (renamed(lambda name: f"module.{name}"), ("21 missing", "21 unused", "'module.'")),
        (renamed(lambda name: f"_orig_mod.{name}"), ("'_orig_mod.'",)),
        (renamed(lambda name: name.replace("q_proj", "q_proj.base_layer")), ("merge_and_unload",)),
        (
            lambda t: t | {"model.norm.weight": torch.ones(31)},
            ("1 of another shape", "model.norm.weight is 31, wanted 32"),
        ),
    ],
)
def test_weights_that_do_not_fit(folder, change, words):
    edit_weights(folder, change)
    refused(check_weights, folder, *words)
    with pytest.raises(BadInput):
        load_model(folder, "float32")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_hidden_layers": 1}, ("9 unused", "hold 2 layers", "says 1")),
        ({"num_hidden_layers": 3}, ("9 missing", "hold 2 layers", "says 3")),
        ({"vocab_size": 23}, ("24x32, wanted 23x32", "vocab_size to 24")),
        ({"intermediate_size": 40}, ("6 of another shape", "48x32, wanted 40x32", "another size")),
        ({"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}, ("missing", "unused", "architecture")),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, ("6 missing", "q_proj.bias")),
        ({"tie_word_embeddings": True}, ("lm_head.weight and model.embed_tokens.weight differ", "tie_word_embeddings")),
    ],
)
def test_a_configuration_that_does_not_fit(folder, config, words):
    refused(check_weights, with_config(folder, config), *words)


def test_weights_of_double_precision_are_not_called_quantized(folder):
    edit_weights(folder, lambda tensors: {name: value.double() for name, value in tensors.items()})
    assert check_weights(folder).dtypes.keys() == {"float64"}


def test_a_file_of_torch_that_holds_no_weights_by_name(folder):
    (folder / "model.safetensors").unlink()
    torch.save([1, 2], folder / "pytorch_model.bin")
    refused(check_weights, folder, "list", "not weights by name")


def test_a_configuration_that_builds_no_model(folder):
    with_config(folder, {"hidden_act": "no-such-function"})
    refused(check_weights, folder, "config.json builds no LlamaForCausalLM", "no-such-function")


def test_a_configuration_that_does_not_load(folder):
    with_config(folder, {"num_hidden_layers": "two"})
    refused(check_weights, folder, "config.json")


def test_biases_that_the_configuration_knows_nothing_of(tmp_path):
    folder = model_folder(tmp_path / "model", "qwen2")
    with_config(folder, {"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    refused(check_weights, folder, "6 unused", "self_attn.k_proj.bias")
    with pytest.raises(BadInput, match="no place"):
        load_model(folder, "float32")


def test_an_expert_that_is_not_there(tmp_path):
    folder = model_folder(tmp_path / "model", "mixtral", **EXPERTS)
    name = "model.layers.0.block_sparse_moe.experts.3.w1.weight"
    edit_weights(folder, without(name))
    refused(check_weights, folder, f"1 missing: {name}")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("bert", {"is_decoder": False}, ("bert", "encoder")),
        ("roberta", {"is_decoder": False}, ("roberta", "encoder")),
    ],
)
def test_encoders(tmp_path, kind, changes, words):
    refused(check_weights, model_folder(tmp_path / "model", kind, **changes), *words)


@pytest.mark.parametrize("model_type", ["t5", "vit", "clip", "whisper", "llava", "qwen2_vl"])
def test_models_of_other_kinds(folder, model_type):
    with_config(folder, {"model_type": model_type, "architectures": None})
    refused(check_weights, folder, model_type, "causal language model")
    with pytest.raises(BadInput):
        load_model(folder, "float32")


TEXT = {
    "vocab_size": 24, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip


def multimodal(folder: Path, kind: str, text, vision, **changes) -> Path:
    from transformers import AutoModelForImageTextToText

    config = AutoConfig.for_model(kind, text_config=TEXT | text, vision_config=vision, eos_token_id=1, **changes)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def test_a_multimodal_model_is_named_with_the_way_to_its_language_model(tmp_path):
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    folder = multimodal(tmp_path / "model", "gemma3", {}, vision, mm_tokens_per_image=4)
    refused(check_weights, folder, "multimodal", "gemma3", "python -c")


def test_the_language_model_of_a_multimodal_one_is_used_where_transformers_loads_it_alone(tmp_path):
    linear = {f"linear_{what}": 2 for what in ("num_key_heads", "num_value_heads")}
    linear |= {f"linear_{what}_head_dim": 8 for what in ("key", "value")}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    folder = multimodal(tmp_path / "model", "qwen3_5", linear, vision)
    report = check_weights(folder)
    assert report.architecture == "Qwen3_5ForCausalLM"
    assert "only the language model" in " ".join(report.unusual)


def test_what_is_unusual(folder):
    edit_weights(folder, lambda tensors: {name: value.half() for name, value in tensors.items()})
    report = check_weights(folder)
    assert set(report.dtypes) == {"float16"}
    assert "float16, and config.json says float32" in report.unusual[0]


# Against transformers' own report of a real load


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("origin") / "model")


NAMES = sorted(tiny().state_dict())


@given(
    dropped=st.sets(st.sampled_from(NAMES), max_size=2),
    added=st.sets(
        st.sampled_from(["model.extra.weight", "score.weight", "model.layers.9.mlp.up_proj.weight"]), max_size=2
    ),
    grown=st.sets(st.sampled_from(NAMES), max_size=1),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_verdict_is_that_of_loading(origin, tmp_path_factory, dropped, added, grown):
    folder = shutil.copytree(origin, tmp_path_factory.mktemp("changed") / "model")

    def change(tensors):
        kept = {name: value for name, value in tensors.items() if name not in dropped}
        larger = {name: torch.cat([kept[name]] * 2) for name in grown if name in kept}
        return kept | larger | {name: torch.ones(3) for name in added}

    edit_weights(folder, change)
    _, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True)
    fits = not (found["missing_keys"] or found["unexpected_keys"] or found["mismatched_keys"])
    if fits:
        check_weights(folder)
    else:
        text = refused(check_weights, folder)
        for number, what in ((len(found["missing_keys"]), "missing"), (len(found["unexpected_keys"]), "unused")):
            assert (f"{number} {what}:" in text) == (number > 0)


# A model of the size that is meant


def empty_folder_of_7b(folder: Path) -> Path:
    """Headers as of Llama-2-7B in bfloat16, and files of the right length that hold no data (sparse)."""
    folder.mkdir()
    config = AutoConfig.for_model("llama", vocab_size=32000, dtype="bfloat16", architectures=["LlamaForCausalLM"])
    config.save_pretrained(folder)
    with torch.device("meta"):
        tensors = AutoModelForCausalLM.from_config(config).state_dict()
    places, count = {}, 2
    for i in range(count):
        header, at, name = {}, 0, f"model-{i + 1:05}-of-{count:05}.safetensors"
        for key, tensor in list(tensors.items())[i::count]:
            size = 2 * tensor.numel()
            header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
            at, places[key] = at + size, name
        text = json.dumps(header).encode()
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(folder / name, 8 + len(text) + at)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    word_tokenizer().save_pretrained(folder)
    return folder


def test_seven_billion_parameters_take_seconds_and_little_memory(tmp_path):
    large = empty_folder_of_7b(tmp_path / "7b")
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    report = check_weights(large)
    assert report.parameters == 6_738_415_616
    assert report.bytes > 13_000_000_000
    assert time.monotonic() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500_000, "KiB more than before"
