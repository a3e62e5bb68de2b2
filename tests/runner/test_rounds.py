"""Two rounds with a real model through the real runner, from an SFT policy that knows its problems by heart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from misstep.artifacts.reader import Reader
from misstep.evaluation.results import read_results
from misstep.spec.rewrite import yaml_text
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.runner.small import NAME, YAML, misstep

ARMS = """
- {name: rft-2, method: rft, from: dpo-step}
- {name: dpo-step-2, method: dpo, pairs: shared-prefix, from: dpo-step, dpo: {learningRate: "1e-12"}}
- {name: dpo-step, method: dpo, pairs: shared-prefix, dpo: {learningRate: "1e-4"}}
- {name: sft, method: sft}
"""
"""Those that start from another arm stand before it. The second round's rate changes no weight by anything visible."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    document = yaml.safe_load(YAML)
    spec = document["spec"]
    spec["arms"] = yaml.safe_load(ARMS)
    spec["problems"]["validation"]["limit"] = 100
    sft = spec["training"]["sft"]
    sft |= {"epochs": 24, "selection": {"epochs": [24], "problems": 100}, "policy": {"epoch": 24}}
    spec["sampling"]["samples"] = 16
    (folder / "small.yaml").write_text(yaml_text(document), encoding="utf-8")
    done = misstep(folder, "run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def keys(folder: Path) -> dict[str, str]:
    rows = json.loads(misstep(folder, "status", NAME, "--json").stdout)["stages"]
    return {row["stage"]: row["key"] for row in rows}


@pytest.mark.slow
def test_the_second_round_starts_from_the_first_ones_model(finished: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = keys(finished)
    storage = Storage(uri=f"file://{finished}/.misstep/store")
    reader = Reader(open_store(storage), tmp_path)
    weights = {
        name: load_file(reader.file(found[f"{name}-d60-s0"], "model/model.safetensors"))
        for name in ("sft", "dpo-step", "dpo-step-2")
    }
    pairs = [reader.rows(found[f"pairs-{name}-d60-s0"], "pairs") for name in ("dpo-step", "dpo-step-2")]
    assert min(pairs) > 0

    def distance(one: str, other: str) -> float:
        return max(float((weights[one][n] - weights[other][n]).abs().max()) for n in weights[one])

    assert distance("dpo-step", "dpo-step-2") < 1e-7
    assert distance("sft", "dpo-step") > 1e-5
    samples = [reader.table(found[f"sample-{name}d60-s0"], "samples", ["token_ids"]) for name in ("", "dpo-step-")]
    assert not samples[0].equals(samples[1])


@pytest.mark.slow
def test_the_report_names_both_policies(finished: Path) -> None:
    results = read_results((finished / ".misstep" / NAME / "results.json").read_text())
    assert [(s.from_arm, s.answers.samples) for s in results.sampled] == [("dpo-step", 960), (None, 960)]
    assert {c.from_arm for c in results.credit} == {None, "dpo-step"}
    assert {c.arm: c.from_arm for c in results.cells} == {
        "sft": None,
        "dpo-step": None,
        "dpo-step-2": "dpo-step",
        "rft-2": "dpo-step",
    }


@pytest.mark.slow
def test_the_policy_that_knows_its_problems_by_heart_is_warned_of_everywhere(finished: Path) -> None:
    begin = "The policy of 60 problems (seed 0) solves "
    status = misstep(finished, "status", NAME).stdout
    assert f"warning: {begin}" in status and status.count("warning: ") == 1
    rows = json.loads(misstep(finished, "status", NAME, "--json").stdout)["stages"]
    (warning,) = [row["warning"] for row in rows if row["warning"]]
    assert warning.startswith(begin) and "spec.training.sft.policy" in warning
    assert warning in read_results((finished / ".misstep" / NAME / "results.json").read_text()).notes
    sampling = misstep(finished, "logs", NAME, "sample-d60-s0").stdout
    assert sampling.count(warning) == 1
    assert "by heart" not in misstep(finished, "logs", NAME, "sample-dpo-step-d60-s0").stdout
    training = misstep(finished, "logs", NAME, "sft-d60-s0").stdout
    assert "the policy is the checkpoint of epoch 24, right on " in training
    assert "the epoch that spec.training.sft.policy.epoch names" in training
    assert "The policy solves " in training
