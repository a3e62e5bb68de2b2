"""Folders that break pipelines, as `cases/models.py` makes them: each must have the result that its README
describes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from misstep.errors import BadInput
from misstep.inspection.model import inspect_model
from misstep.plan.params import PromptParams

SCRIPT = Path(__file__).parents[3] / "shared" / "cases" / "models.py"
PLAIN = PromptParams(style="plain", template="{question}\n")
CHAT = PromptParams(style="chat", template="{question}")
pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason=f"{SCRIPT} is not here"),
    pytest.mark.slow,  # it makes sixteen models, each in its own folder
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("name", "prompt", "words"),
    [
        ("no-generation-prompt", CHAT, ("spec.policy.prompt", "add_generation_prompt")),
        ("open-think", CHAT, ("spec.policy.prompt", "<think>", "enable_thinking")),
        ("gptq", PLAIN, ("spec.policy.model", "cannot be trained", "full weights")),
        ("custom-code", PLAIN, ("spec.policy.model", "Misstep never runs code from a model's folder")),
        ("base-and-adapter", PLAIN, ("spec.policy.model", "merge")),
    ],
)
def test_refused(folders, name, prompt, words):
    with pytest.raises(BadInput) as caught:
        inspect_model(folders / name, prompt)
    for word in words:
        assert word in str(caught.value) or word in caught.value.fix


@pytest.mark.parametrize(
    ("name", "prompt", "end", "unusual"),
    [
        ("plain", PLAIN, "<eos>", ""),
        ("byte-level-as-llama", PLAIN, "<eos>", "is read directly"),
        ("end-of-turn", CHAT, "<|end|>", ""),
        ("end-of-turn-plain", CHAT, "<|end|>", ""),
        ("empty-think", CHAT, "<|im_end|>", "part of the prompt"),
        ("stray-generation-config", PLAIN, "<eos>", "temperature"),
        ("pad-is-end", PLAIN, "<eos>", "padding"),
        ("large-vocabulary", PLAIN, "<eos>", ""),
        ("falcon-mamba", PLAIN, "<eos>", ""),
        ("mamba2", PLAIN, "<eos>", ""),
        ("recurrent-gemma", PLAIN, "<eos>", ""),
    ],
)
def test_used(folders, name, prompt, end, unusual):
    report = inspect_model(folders / name, prompt)
    assert report.text is not None
    assert report.text.end == end
    assert (number for number, token in report.text.ends if token == end)
    assert unusual in " ".join(report.unusual)
