"""Settings are found under the names that an Experiment has for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from misstep.cli.experiments import load, make_plan
from misstep.comparison.compared import Compared, Difference, differences, rows_of, value_text
from misstep.comparison.fairness import RULES, warnings
from misstep.comparison.read import planned
from misstep.comparison.settings import VERIFIER, Setting, settings_of
from misstep.evaluation.results import Problems, Results
from misstep.spec.explain import explain

EXAMPLES = Path(__file__).parents[2] / "examples"


def settings(path: Path, tmp_path: Path, *changes: tuple[str, str]) -> dict[Setting, object]:
    text = path.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / path.name
    file.write_text(text.replace("path: quickstart-base", f"path: {EXAMPLES}/quickstart-base"), "utf-8")
    return settings_of(planned(make_plan(load(file, "s3://bucket/store"))))


def results(test_problems: int = 100) -> Results:
    return Results(
        title="t", test_problems=test_problems, seeds=(0,), sizes=(10,), bootstrap=100, yardstick="sft", fit=None,
        no_fit=None, cells=(), comparisons=(), median_factors={}, points=(), sampled=(), credit=(),
        problems=Problems(counts={}), conclusion="", notes=(),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["quickstart", "quickstart-full", "gsm8k-teacher", "math-deepseek-math-7b"])
def test_every_setting_is_a_field_of_the_experiment(name: str, tmp_path: Path) -> None:
    found = settings(EXAMPLES / f"{name}.yaml", tmp_path)
    assert len({setting.path for setting in found}) > 60
    for setting in found:
        if setting.path != VERIFIER:
            assert explain(setting.path)


def test_the_rules_of_fairness_name_fields_of_the_experiment() -> None:
    for rule in RULES:
        for path in rule.paths:
            assert path == VERIFIER or explain(path)


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    found = settings(EXAMPLES / "quickstart.yaml", tmp_path)
    assert found[Setting("spec.training.dpo.beta", "dpo-random")] == 0.3
    assert found[Setting("spec.training.dpo.beta", "dpo-step-whole")] == 0.1
    assert found[Setting("spec.problems.test.limit")] == 1500
    assert found[Setting("spec.evaluation.temperature")] == 0.7
    assert found[Setting("spec.sampling.temperature")] == 1
    assert found[Setting("spec.seeds")] == [0, 1, 2]
    assert found[Setting("spec.arms.sizes", "rft")] == [125]
    assert str(found[Setting("spec.policy.model")]).startswith("sha256")


def test_what_differs_is_named_with_the_arms_that_it_is_of(tmp_path: Path) -> None:
    path = EXAMPLES / "quickstart.yaml"
    one = Compared("one", results(), settings(path, tmp_path))
    other = Compared("other", results(), settings(path, tmp_path, ("      beta: 0.3", "      beta: 0.5")))
    found, same = differences([one, other])
    assert found == [
        Difference("spec.training.dpo.beta", ("dpo-random", "dpo-edit-distance", "dpo-step"), (0.3, 0.5))
    ]  # dpo-step-whole has its own
    assert same > 60
    assert warnings([one, other], found) == []
    assert differences([one, one])[0] == []


def test_an_unfair_comparison_says_why(tmp_path: Path) -> None:
    path = EXAMPLES / "quickstart.yaml"
    one = Compared("one", results(), settings(path, tmp_path))
    changed = settings(
        path,
        tmp_path,
        ("test: {format: strides, limit: 1500", "test: {format: strides, limit: 1400"),
        ("  seeds: [0, 1, 2]", "  seeds: [3, 4, 5]"),
        ("learningRate: 1e-3\n      epochs: 32", "learningRate: 5e-3\n      epochs: 32"),
    )
    other = Compared("other", results(90), changed)
    said = warnings([one, other], differences([one, other])[0])
    assert [text.partition(" (")[0] for text in said] == [
        "Not the same: the test problems",
        "Not the same: the training of SFT",
        "Not the same: the seeds",
    ]
    assert "spec.problems.test.limit" in said[0] and "cannot be compared" in said[0]


def test_results_alone_are_compared_as_far_as_they_go() -> None:
    pair = [Compared("one", results(), {Setting("spec.seeds"): [0]}), Compared("bare", results(90), None)]
    assert differences(pair) == ([], 0)
    said = warnings(pair, [])
    assert "100 and 90" in said[0]
    assert said[1].startswith("The settings of bare are not known")
    assert rows_of(pair) == []


def test_long_values_are_short_and_show_whether_they_are_the_same() -> None:
    a, b = value_text("x" * 200 + "a"), value_text("x" * 200 + "b")
    assert a != b and len(a) < 130
    assert value_text("a\nb") == "a\\nb"
    assert (value_text(5e-7), value_text(True), value_text(None), value_text([1, 2])) == ("5e-7", "true", "–", "1, 2")
