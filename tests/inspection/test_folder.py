from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from misstep.models.folder import check_folder
from tests.inspection.folders import POINTER, edit, edit_weights, refused, shard, with_config


def test_a_whole_folder_passes(folder):
    check_folder(folder)


def test_a_folder_in_shards_passes(folder):
    shard(folder)
    check_folder(folder)


def test_a_folder_of_links_passes_as_in_the_cache_of_hugging_face(folder, tmp_path):
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file)
    check_folder(linked)


def test_the_check_needs_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from misstep.models.folder import check_folder; "
        "check_folder(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=env)


def test_no_folder_and_no_config(folder, tmp_path):
    refused(check_folder, tmp_path / "nowhere", "no such folder")
    (folder / "config.json").unlink()
    refused(check_folder, folder, "no config.json")


def test_a_folder_around_the_model_names_the_one_inside(folder):
    assert "tiny" in refused(check_folder, folder.parent, "no config.json")


@pytest.mark.parametrize("text", ["{", "[1]", "", "[" * 100_000])
def test_a_config_that_is_no_object(folder, text):
    (folder / "config.json").write_text(text)
    refused(check_folder, folder, "config.json")


# Quantized weights


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "mxfp4", "compressed-tensors", "torchao"])
def test_quantized_weights_of_any_method(folder, method):
    with_config(folder, {"quantization_config": {"quant_method": method, "bits": 4}})
    text = refused(check_folder, folder, method, "cannot be trained", "full weights")
    assert ("bfloat16:" in text or "copy in bfloat16" in text) == (method in ("fp8", "mxfp4"))


def test_quantized_weights_in_the_part_for_text(folder):
    with_config(folder, {"text_config": {"quantization_config": {"quant_method": "awq"}}})
    refused(check_folder, folder, "awq", "cannot be trained")


def test_an_empty_declaration_of_quantization_is_none(folder):
    with_config(folder, {"quantization_config": {}})
    check_folder(folder)


def with_qweight(tensors):
    name = "model.layers.0.mlp.up_proj"
    return {k: v for k, v in tensors.items() if k != f"{name}.weight"} | {
        f"{name}.qweight": torch.zeros(4, 48, dtype=torch.int32),
        f"{name}.scales": torch.zeros(1, 48),
    }


@pytest.mark.parametrize(
    "change",
    [
        with_qweight,
        lambda tensors: {k: v.to(torch.float8_e4m3fn) for k, v in tensors.items()},
        lambda tensors: tensors | {"model.layers.0.mlp.up_proj.weight": torch.zeros(768, 1, dtype=torch.uint8)},
        lambda tensors: tensors | {"model.layers.0.mlp.up_proj.weight_scale_inv": torch.ones(1, 1)},
    ],
)
def test_quantized_weights_that_config_does_not_declare(folder, change):
    edit_weights(folder, change)
    refused(check_folder, folder, "cannot be trained")


# Code


def with_code(folder: Path, model_type: str, name: str, config: str) -> Path:
    return with_config(
        folder,
        {
            "model_type": model_type,
            "architectures": [name],
            "auto_map": {"AutoConfig": f"configuration_own.{config}", "AutoModelForCausalLM": f"modeling_own.{name}"},
        },
    )


@pytest.mark.parametrize(
    ("model_type", "name", "config"),
    [
        ("phi3", "Phi3ForCausalLM", "Phi3Config"),
        ("qwen2", "Qwen2ForCausalLM", "Qwen2Config"),
        ("deepseek_v3", "DeepseekV3ForCausalLM", "DeepseekV3Config"),
        ("mpt", "MPTForCausalLM", "MPTConfig"),
        ("phimoe", "PhiMoEForCausalLM", "PhiMoEConfig"),
        ("ernie4_5", "Ernie4_5_ForCausalLM", "Ernie4_5_Config"),
    ],
)
def test_code_that_transformers_has_by_now_is_only_left_over(folder, model_type, name, config):
    check_folder(with_code(folder, model_type, name, config))


@pytest.mark.parametrize(
    ("model_type", "name"), [("mygpt", "MyGPT"), ("llama", "MyLlamaForCausalLM"), ("qwen2", "Qwen2WithMemory")]
)
def test_code_of_the_folders_own(folder, model_type, name):
    with_code(folder, model_type, name, "OwnConfig")
    refused(check_folder, folder, "Misstep never runs code from a model's folder")


def test_an_unknown_model_type_without_code(folder):
    with_config(folder, {"model_type": "lama"})
    refused(check_folder, folder, "'lama'", "transformers")
    with_config(folder, {"model_type": None})
    refused(check_folder, folder, "model_type")


def test_a_tokenizer_of_the_folders_own(folder):
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]})
    refused(check_folder, folder, "OwnTokenizer", "Misstep never runs code from a model's folder")
    edit(folder / "tokenizer_config.json", auto_map=["tokenization_own.OwnTokenizer", None])
    refused(check_folder, folder, "OwnTokenizer")
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_qwen2.Qwen2Tokenizer", None]})
    check_folder(folder)


# Kinds of models


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("LlamaForSequenceClassification", "classifier or reward"),
        ("Qwen2ForRewardModel", "reward"),
        ("Qwen2ForProcessRewardModel", "reward"),
        ("LlamaForTokenClassification", "classifier"),
        ("BertForMaskedLM", "encoder"),
        ("AutoModelForCausalLMWithValueHead", "value"),
        ("LlamaForQuestionAnswering", "another task"),
    ],
)
def test_architectures_that_are_no_causal_language_models(folder, name, word):
    with_config(folder, {"architectures": [name]})
    refused(check_folder, folder, name, word)


def test_a_model_with_encoder_and_decoder(folder):
    with_config(
        folder, {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}
    )
    refused(check_folder, folder, "an encoder and a decoder")


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaModel", "LLaMAForCausalLM", "BloomForCausalLM"])
def test_names_of_causal_language_models_and_of_models_without_head_pass(folder, name):
    check_folder(with_config(folder, {"architectures": [name]}))


# Files


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_git_lfs_pointers(folder, name):
    (folder / name).write_text(POINTER)
    refused(check_folder, folder, name, "Git LFS pointer", "lfs pull")


def test_a_pointer_among_shards(folder):
    shard(folder)[1].write_text(POINTER)
    refused(check_folder, folder, "model-00002-of-00003", "Git LFS pointer")


def test_shards_that_are_not_there(folder):
    files = shard(folder)
    files[0].unlink()
    files[2].unlink()
    refused(check_folder, folder, "2 of 3", files[0].name, files[2].name, "finish the download")


def test_shards_without_their_index(folder):
    shard(folder)[0].unlink()
    (folder / "model.safetensors.index.json").unlink()
    refused(check_folder, folder, "2 of 3", "model.safetensors.index.json")


@pytest.mark.parametrize("length", [0, 5, 1000, -1])
def test_a_file_that_is_cut_off(folder, length):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    text = refused(check_folder, folder, "model.safetensors", "cut off or damaged")
    if length == -1:
        assert f"{len(whole) - 1:,} bytes of {len(whole):,}" in text


def test_a_page_of_html_in_the_place_of_weights(folder):
    (folder / "model.safetensors").write_text("<html>Please log in</html>" * 50)
    refused(check_folder, folder, "cut off or damaged")


def test_a_link_to_nothing(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs/4d7a")
    refused(check_folder, folder, "missing", "finish the download")


@pytest.mark.parametrize("suffix", [".gguf", ".pth", ".h5", ".msgpack", ".onnx", ".pt"])
def test_weights_of_a_form_that_is_not_read(folder, suffix):
    (folder / "model.safetensors").rename(folder / f"weights{suffix}")
    refused(check_folder, folder, suffix.strip("."), "model.safetensors")


def test_a_gguf_file_next_to_full_weights_does_no_harm(folder):
    (folder / "model-q4.gguf").write_bytes(b"GGUF")
    check_folder(folder)


def test_a_folder_of_gguf_files_alone(tmp_path):
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    refused(check_folder, tmp_path, "no config.json", "GGUF", "full weights")


def test_no_weights_and_weights_under_another_name(folder):
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    refused(check_folder, folder, "model.fp16.safetensors", "Rename")
    (folder / "model.fp16.safetensors").unlink()
    refused(check_folder, folder, "no weights")


def test_weights_of_torch_are_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    check_folder(folder)
    (folder / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes()[:2000])
    refused(check_folder, folder, "pytorch_model.bin", "cut off or damaged")


def test_two_sets_of_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    shard(folder)
    save_file(tensors, folder / "model.safetensors")
    refused(check_folder, folder, "two sets of weights")


def test_further_weights_in_the_folder(folder):
    save_file({"x": torch.ones(1)}, folder / "ema.safetensors")
    refused(check_folder, folder, "ema.safetensors")


def test_mistrals_own_file_next_to_the_weights_does_no_harm(folder):
    save_file({"x": torch.ones(1)}, folder / "consolidated.safetensors")
    check_folder(folder)


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    refused(check_folder, folder, "no tokenizer", "tokenizer.json")


def test_an_index_without_a_map(folder):
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}}))
    refused(check_folder, folder, "weight_map")
