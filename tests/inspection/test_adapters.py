from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from misstep.errors import BadInput
from misstep.generation.loading import load_model
from misstep.models.folder import check_folder
from tests.inspection.folders import edit, refused


@pytest.fixture
def adapter(folder, tmp_path):
    """A LoRA adapter of the model, in a folder of its own."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), lora).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def beside(folder, adapter):
    for file in adapter.glob("adapter_*"):
        shutil.copy(file, folder)
    return folder


def test_an_adapter_alone_names_its_base(folder, adapter):
    refused(check_folder, adapter, "LORA adapter", str(folder), "merge_and_unload")


def test_an_adapter_in_a_folder_inside(adapter, tmp_path):
    (tmp_path / "outer").mkdir()
    adapter.rename(tmp_path / "outer" / "adapter")
    refused(check_folder, tmp_path / "outer", "LORA", "merge_and_unload", "outer/adapter")


def test_an_adapter_next_to_its_base(folder, adapter):
    refused(check_folder, beside(folder, adapter), "LORA adapter", "next to the base", "merge_and_unload")


def test_no_engine_and_no_training_loads_an_adapter_silently(folder, adapter):
    with pytest.raises(BadInput, match="adapter"):
        load_model(beside(folder, adapter), "float32")


def test_an_adapter_that_adds_to_the_prompt_cannot_be_merged(folder, adapter):
    edit(adapter / "adapter_config.json", peft_type="PROMPT_TUNING")
    assert "merge" not in refused(check_folder, adapter, "PROMPT_TUNING")
    assert "cannot be merged" in refused(check_folder, beside(folder, adapter), "PROMPT_TUNING")


def test_weights_of_an_adapter_without_its_configuration(folder, adapter):
    beside(folder, adapter)
    (folder / "adapter_config.json").unlink()
    refused(check_folder, folder, "adapter")


def logits(model):
    with torch.inference_mode():
        return model.eval()(torch.arange(2, 20)[None]).logits


@pytest.mark.slow
@pytest.mark.parametrize("where", ["alone", "beside"])
def test_the_command_that_is_advised_merges(folder, adapter, where):
    from peft import PeftModel

    expected = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter))
    place = adapter if where == "alone" else beside(folder, adapter)
    text = refused(check_folder, place)
    command = text[text.index("python -c" if where == "alone" else "mkdir") : text.index(" and then name ")]
    own_python_first = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, shell=True, check=True, env=own_python_first)
    merged = place.with_name(place.name + "-merged")
    check_folder(merged)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(merged)), expected, rtol=1e-4, atol=1e-4)
    assert len(AutoTokenizer.from_pretrained(merged)) == len(AutoTokenizer.from_pretrained(folder))
