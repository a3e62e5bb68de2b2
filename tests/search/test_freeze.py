"""The chosen settings, written into the YAML: an experiment that is valid and differs in nothing else."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any

import pytest

from misstep.search.choose import mean
from misstep.search.freeze import frozen_yaml, settings_changes
from misstep.search.grid import candidates
from misstep.search.result import ArmResult, SearchResult, arm_result, setting_text
from misstep.spec import Experiment, load_experiment
from misstep.spec.edit import changed
from misstep.spec.load import parse_document, read_document
from misstep.spec.schema import COMMENT, FILE

DAY = datetime.date(2026, 11, 28)
TEXT = """\
# My experiment
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {name: e}
spec:
  problems:
    train: {format: gsm8k, path: data/train.jsonl}
    test: {format: gsm8k, path: data/test.jsonl}
    sizes: [40]
  policy:
    model: {path: base}  # the base model
  training:
    dpo:
      epochs: 1
      beta: 0.30   # as in the paper
  arms:
    - {name: sft, method: sft}
    - {name: random, method: dpo, pairs: random}
    - name: step
      method: dpo
      pairs: shared-prefix
      dpo: {beta: 0.2}   # its own
  search:
    sft: {learningRate: [1e-3, 3e-4]}
    dpo: {beta: [0.1, 0.3], learningRate: [1e-6, 3e-6]}
"""


def searched(experiment: Experiment, best: dict[str, int]) -> SearchResult:
    """The result of a search in which each arm's setting of that number was the best."""
    spec = experiment.spec
    assert spec.search is not None
    arms: list[ArmResult] = []
    for arm in spec.arms:
        tried = candidates(arm, spec.search)
        table = {
            (c.arm.name, size, seed): 0.5 if number == best.get(arm.name, 0) else 0.4
            for number, c in enumerate(tried)
            for size, seed in itertools.product(spec.search_sizes, spec.search.seeds)
        }
        grid = spec.search.grid(arm.method)
        arms.append(arm_result(arm.name, tried, grid, table, spec.search_sizes, spec.search.seeds))
    return SearchResult(
        experiment="e",
        seeds=[100, 101, 102],
        sizes=[40],
        choosing_problems=20,
        judging_problems=1000,
        samples=4,
        arms=arms,
    )


def frozen(
    folder: Path, text: str, best: dict[str, int], target: str = "tuned.yaml"
) -> tuple[Experiment, Experiment, str]:
    """Freeze a search's result; return the experiment before and after, and the new text."""
    source = folder / "e.yaml"
    source.write_text(text)
    before = load_experiment(source)
    there = folder / target
    made = frozen_yaml(text, before, searched(before, best), source, there, DAY)
    there.write_text(made)
    return before, load_experiment(there), made


def with_settings(before: Experiment, best: dict[str, int]) -> dict[str, Any]:
    """Arm -> its method's settings, with the search's over them."""
    assert before.spec.search is not None
    found = {}
    for arm in before.spec.arms:
        one = candidates(arm, before.spec.search)[best.get(arm.name, 0)].arm
        found[arm.name] = settings_of(before, getattr(one, one.method), one.method)
    return found


def settings_of(experiment: Experiment, own: Any, method: str) -> dict[str, Any]:
    common = getattr(experiment.spec.training, method).model_dump()
    return common | ({} if own is None else own.model_dump(include=own.model_fields_set))


@pytest.mark.parametrize("sft", [0, 1])
@pytest.mark.parametrize("random", [0, 1, 2, 3])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_every_arm_gets_its_setting_and_nothing_else_changes(tmp_path: Path, sft: int, random: int, step: int) -> None:
    best = {"sft": sft, "random": random, "step": step}
    before, after, made = frozen(tmp_path, TEXT, best)
    got = {arm.name: settings_of(after, getattr(arm, arm.method), arm.method) for arm in after.spec.arms}
    assert got == with_settings(before, best)
    rest = {"training", "arms"}
    assert after.spec.model_dump(exclude=rest) == before.spec.model_dump(exclude=rest)
    names = {"name", "method", "pairs", "sizes"}
    assert [a.model_dump(include=names) for a in after.spec.arms] == [
        a.model_dump(include=names) for a in before.spec.arms
    ]
    for comment in ("# My experiment", "# the base model", "# as in the paper", "# its own"):
        assert comment in made


def test_what_stands_there_already_is_not_written_again(tmp_path: Path) -> None:
    _, after, made = frozen(tmp_path, TEXT, {"random": 3, "step": 3})
    assert "      beta: 0.30   # as in the paper\n      learningRate: 3e-6\n" in made
    assert "dpo: {beta: 0.3}   # its own" in made
    assert "    sft: {learningRate: 1e-3}\n" in made
    assert after.spec.arms[1].dpo is None


def test_arms_that_differ_get_blocks_of_their_own(tmp_path: Path) -> None:
    _, _, made = frozen(tmp_path, TEXT, {"random": 0, "step": 3})
    assert "- {name: random, method: dpo, pairs: random, dpo: {learningRate: 1e-6, beta: 0.1}}" in made
    assert "dpo: {beta: 0.3, learningRate: 3e-6}   # its own" in made


def test_arms_by_default_are_spelled_out_where_they_differ(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("  arms:")] + TEXT[TEXT.index("  search:") :]
    best = {"dpo-random": 1, "dpo-step": 2}
    before, after, _ = frozen(tmp_path, text, best)
    assert "arms" not in read_document(tmp_path / "e.yaml")["spec"]
    got = {arm.name: settings_of(after, getattr(arm, arm.method), arm.method) for arm in after.spec.arms}
    assert got == with_settings(before, best)
    same, after, _ = frozen(tmp_path, text, {"dpo-random": 1, "dpo-step": 1})
    assert "arms" not in read_document(tmp_path / "tuned.yaml")["spec"]
    assert after.spec.arms == same.spec.arms


def test_paths_read_from_the_new_files_folder(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    before, after, made = frozen(tmp_path, TEXT, {}, "deep/er/tuned.yaml")
    assert after.spec.policy.model.path == before.spec.policy.model.path == str(tmp_path / "base")
    assert after.spec.problems == before.spec.problems
    assert "../../base" in made
    assert "../" not in frozen(tmp_path, TEXT, {})[2]


def test_the_file_says_by_which_search_and_a_later_search_takes_its_place(tmp_path: Path) -> None:
    _, _, once = frozen(tmp_path, TEXT, {"sft": 1})
    head = once[: once.index("# My experiment")]
    assert all(line.startswith("#: ") and len(line) <= 120 for line in head.splitlines())
    said = " ".join(head.replace("#: ", "").split())
    assert "`misstep tune e.yaml` on 2026-11-28" in said
    assert "1,000 validation problems" in said and "Seeds 100, 101, 102; 40 training problems" in said
    assert "Grid of dpo: {learningRate: [1e-6, 3e-6], beta: [0.1, 0.3]}" in said
    assert "sft: learningRate 3e-4: 50.0 ± 0.0%" in said
    _, after, twice = frozen(tmp_path, once, {"sft": 0})
    assert twice.count("Settings frozen by") == 1 and twice.endswith(TEXT[TEXT.index("  search:") :])
    assert after.spec.training.sft.learning_rate == 1e-3


def test_a_shared_setting_that_does_not_fit_the_common_block_goes_to_the_arms(tmp_path: Path) -> None:
    text = TEXT.replace("epochs: 1\n", "epochs: 1\n      microBatchSize: 24\n      batchSize: 48\n")
    text = text.replace("pairs: random}", "pairs: random, dpo: {microBatchSize: 16, batchSize: 48}}")
    text = text.replace("{beta: 0.2}", "{beta: 0.2, microBatchSize: 8}")
    text = text.replace("dpo: {beta: [0.1, 0.3], learningRate", "dpo: {batchSize: [32, 80], learningRate")
    _, after, _ = frozen(tmp_path, text, {})
    assert [a.dpo.batch_size for a in after.spec.arms if a.dpo] == [32, 32]
    assert after.spec.training.dpo.batch_size == 48


def test_a_document_whose_layout_cannot_stay_is_written_anew(tmp_path: Path) -> None:
    text = TEXT.replace("    dpo:\n", "    dpo: &common\n").replace("{beta: 0.2}", "*common")
    best = {"random": 0, "step": 3}
    before, after, made = frozen(tmp_path, text, best)
    got = {arm.name: settings_of(after, getattr(arm, arm.method), arm.method) for arm in after.spec.arms}
    assert got == with_settings(before, best)
    assert made.startswith("#: Settings frozen") and "# My experiment" not in made


def test_a_status_and_empty_documents_disturb_nothing(tmp_path: Path) -> None:
    odd = "---\n" + TEXT + "status: {state: Running}\n---\n"
    best = {"sft": 1, "random": 3, "step": 3}
    _, after, made = frozen(tmp_path, odd, best)
    assert after == frozen(tmp_path, TEXT, best)[1]
    assert after.spec.training.sft.learning_rate == 3e-4
    assert after.spec.training.dpo.learning_rate == 3e-6 and made.startswith("#: ")


def test_changes_are_none_where_all_is_as_chosen(tmp_path: Path) -> None:
    before, _, made = frozen(tmp_path, TEXT, {"random": 1, "step": 2})
    document = parse_document(made)
    assert before.spec.search is not None
    chosen = {arm.arm: arm.best.setting for arm in searched(before, {"random": 1, "step": 2}).arms}
    assert changed(document, settings_changes(document, load_experiment(tmp_path / "tuned.yaml"), chosen)) == document


def test_the_result_says_what_to_know() -> None:
    assert setting_text({"learningRate": 1e-3, "withTeacher": True}) == "learningRate 1e-3, withTeacher true"
    assert mean([0.5, 0.5, 0.5]).error == 0


def test_a_setting_in_quotes_that_is_chosen_stays_as_it_is(tmp_path: Path) -> None:
    quoted = TEXT.replace("beta: 0.30   #", 'beta: "0.30"   #')
    _, after, made = frozen(tmp_path, quoted, {"random": 3, "step": 3})
    assert 'beta: "0.30"   # as in the paper' in made
    assert after.spec.training.dpo.beta == 0.3 and after.spec.training.dpo.learning_rate == 3e-6


def test_an_editor_finds_the_schema_from_the_new_place_too(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    text = f"#: Settings frozen before.\n{COMMENT}../docs/{FILE}\n{TEXT.lstrip()}"
    _, _, made = frozen(tmp_path, text, {}, "deep/er/tuned.yaml")
    assert f"\n{COMMENT}../../../docs/{FILE}\n" in made
    assert "Settings frozen before" not in made
