"""`misstep plan` and `misstep run` check the model before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from misstep.errors import EXIT_BAD_INPUT
from tests.generation.test_chat import CHATML, OPEN_THINK
from tests.inspection.folders import edit
from tests.inspection.test_model import byte_folder, misstep

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"


def command(name, folder, tmp_path, *more):
    store = tmp_path / "store"
    return misstep(name, QUICKSTART, "--model", f"quickstart-base={folder}", "--storage", f"file://{store}", *more)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_model_that_cannot_be_used_is_refused_before_anything_starts(name, tmp_path):
    folder = byte_folder(tmp_path / "model")
    edit(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    done = command(name, folder, tmp_path, *(["--work", str(tmp_path / "work")] if name == "run" else []))
    assert done.returncode == EXIT_BAD_INPUT
    assert done.stderr.startswith("error: spec.policy.model: weights quantized by awq")
    assert "cannot be trained" in done.stderr
    assert not list((tmp_path / "store").rglob("manifest.json"))
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_plan_says_what_is_unusual(tmp_path):
    folder = byte_folder(tmp_path / "model", CHATML)
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")
    done = command("plan", folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: spec.policy.model: tokenizer.json is read directly" in done.stdout


@pytest.mark.slow
def test_a_prompt_that_cannot_be_used_is_refused(tmp_path):
    byte_folder(tmp_path / "model", OPEN_THINK)
    file = tmp_path / "chat.yaml"
    text = QUICKSTART.read_text().replace("path: quickstart-base}", "path: model}\n    prompt: {style: chat}")
    file.write_text(text)
    done = misstep("plan", file, "--storage", f"file://{tmp_path}/store")
    assert (done.returncode, done.stdout) == (EXIT_BAD_INPUT, "")
    assert done.stderr.startswith("error: spec.policy.prompt: ") and "enable_thinking" in done.stderr
    file.write_text(text.replace("{style: chat}", "{style: chat, templateArguments: {enable_thinking: false}}"))
    done = misstep("plan", file, "--storage", f"file://{tmp_path}/store")
    assert done.returncode == 0, done.stderr
