"""The settings search: every setting is a valid Experiment, and none of them looks at test problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from quickstart.search_settings import GRID, QUICKSTART, SEEDS, SFT_SIZES, for_search, with_setting

from misstep.spec.load import load_experiment


@pytest.mark.parametrize("method", GRID)
def test_every_setting_is_a_valid_experiment_on_validation_problems(method: str, tmp_path: Path) -> None:
    base = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    (tmp_path / "validation.jsonl").write_text("", encoding="utf-8")
    for setting in GRID[method]:
        file = tmp_path / "search.yaml"
        made = with_setting(for_search(base, method, tmp_path), method, setting)
        file.write_text(json.dumps(made), encoding="utf-8")
        spec = load_experiment(file).spec
        assert {arm.method for arm in spec.arms} == {"sft", method}
        assert spec.problems.test is not None
        assert (spec.problems.test.format, spec.problems.test.path) == ("table", str(tmp_path / "validation.jsonl"))
        assert spec.problems.validation is not None
        training = getattr(spec.training, method)
        assert float(setting["learningRate"]) == training.learning_rate
        assert setting["epochs"] == training.epochs
        if training.selection:
            assert training.selection.epochs[-1] == training.epochs


def test_the_search_has_its_own_seeds_and_shares_the_fine_tuning_grid() -> None:
    base = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    assert not set(SEEDS) & set(base["spec"].get("seeds", [0]))
    assert GRID["sft"] == GRID["rft"]
    assert for_search(base, "sft", Path("/"))["spec"]["problems"]["sizes"] == SFT_SIZES


def test_a_setting_leaves_the_base_as_it_was() -> None:
    base = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    before = json.dumps(base)
    with_setting(for_search(base, "dpo", Path("/")), "dpo", GRID["dpo"][0])
    assert json.dumps(base) == before
