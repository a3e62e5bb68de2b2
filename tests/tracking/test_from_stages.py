from __future__ import annotations

from pathlib import Path

from misstep.artifacts.live_log import LogRow, ScoreRow, TrainingRows
from misstep.plan.kinds import StageKind
from misstep.tracking.from_stages import Seen, flat, owners_of, parent_id, runs_of
from tests.tracking.finished import experiment, output_of, planned, results


def seen(folder: Path, *, without: frozenset[StageKind] = frozenset()) -> Seen:
    stages = [stage for stage in planned(folder).stages if stage.kind not in without]
    summaries = {stage.key: output_of(stage, folder / "scratch").summary or {"x": 1} for stage in stages}
    return Seen(summaries, results=None if StageKind.REPORT in without else results())


def test_every_stage_of_a_model_belongs_to_the_training_that_made_it(tmp_path: Path) -> None:
    made = planned(tmp_path)
    names = {stage.key: stage.name for stage in made.stages}
    assert {names[key]: names[owner] for key, owner in owners_of(made).items()} == {
        "sft-d60-s0": "sft-d60-s0",
        "test-sft-d60-s0": "sft-d60-s0",
        "verify-test-sft-d60-s0": "sft-d60-s0",
        "score-sft-d60-s0": "sft-d60-s0",
        "sample-d60-s0": "sft-d60-s0",
        "verify-d60-s0": "sft-d60-s0",
        "credit-d60-s0": "sft-d60-s0",
        "pairs-step-d60-s0": "step-d60-s0",
        "step-d60-s0": "step-d60-s0",
        "test-step-d60-s0": "step-d60-s0",
        "verify-test-step-d60-s0": "step-d60-s0",
        "score-step-d60-s0": "step-d60-s0",
    }


def test_a_finished_experiment_has_a_run_for_itself_and_one_for_each_training(tmp_path: Path) -> None:
    made = planned(tmp_path)
    parent, sft, step = runs_of(made, experiment(tmp_path).resolved(), seen(tmp_path))
    assert (parent.name, parent.is_parent, parent.finished) == ("small", True, True)
    assert parent.params["spec.credit.estimator"] == "adaptive"
    assert not any(name.startswith(("spec.cluster", "spec.tracking")) for name in parent.params)
    assert parent.facts["results/step-d60/pass_at_1"] == 0.4
    assert parent.facts["results/step-d60/worth"] == 3.0
    assert parent.facts["tokens/trained"] == 10_000
    assert parent.table is not None and len(parent.table.rows) == 2
    assert (sft.name, sft.group, sft.job, sft.finished) == ("sft-d60-s0", parent.id, "sft", True)
    assert sft.params["arm"] == "sft" and sft.params["size"] == 60
    assert sft.facts["policy/correct_share"] == 0.25
    assert sft.facts["credit/pits"] == 35 and sft.facts["credit/pit_share"] == 35 / 60
    assert sft.facts["test/pass_at_1"] == 0.25
    assert step.facts["pairs/pairs"] == 32
    assert "credit/pits" not in step.facts and "policy/samples" not in step.facts


def test_a_training_that_runs_has_its_rows_and_no_other_training_has_a_run(tmp_path: Path) -> None:
    made = planned(tmp_path)
    key = made.stage("sft-d60-s0").key
    rows = TrainingRows(
        log=(
            LogRow(step=2, epoch=1, loss=0.5, learning_rate=1e-3, grad_norm=float("nan")),
            LogRow(step=4, epoch=2, loss=0.25, learning_rate=1e-4),
        ),
        selection=(ScoreRow(epoch=2, step=4, problems=20, correct=5, train_problems=10, train_correct=5),),
    )
    parent, sft = runs_of(made, experiment(tmp_path).resolved(), Seen(training={key: rows}))
    assert not parent.finished and not sft.finished and not sft.facts
    assert [row.step for row in sft.rows] == [2, 4]
    assert "train/grad_norm" not in sft.rows[0].values, "no tracker takes what is not a number"
    assert sft.rows[1].values["validation/accuracy"] == 0.25
    assert sft.rows[1].values["validation/train_accuracy"] == 0.5


def test_the_experiments_sums_wait_for_the_end(tmp_path: Path) -> None:
    parent, *_ = runs_of(
        planned(tmp_path), experiment(tmp_path).resolved(), seen(tmp_path, without=frozenset({StageKind.REPORT}))
    )
    assert parent.facts == {} and not parent.finished


def test_another_plan_is_another_run_and_the_same_one_is_the_same(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert parent_id(made) == parent_id(planned(tmp_path / "elsewhere"))
    assert parent_id(made) != parent_id(made.model_copy(update={"experiment": "other"}))
    assert parent_id(made) != parent_id(made.model_copy(update={"stages": made.stages[:-1]}))


def test_nested_settings_become_dotted_names() -> None:
    given = {"a": {"b": 1, "empty": {}}, "list": [1, 2], "none": None, "arms": [{"name": "x"}, {"name": "y"}], "no": []}
    assert flat(given) == {"a.b": 1, "list": "1, 2", "arms.0.name": "x", "arms.1.name": "y"}
