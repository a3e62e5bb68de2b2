"""The study's Experiments: each can be planned, and varies what its name says and nothing else."""

from __future__ import annotations

import pytest
from study.design import LONG, PAIRS, SHORT, Task, designs
from study.finished import Finished

from misstep.plan.planner import Plan

DESIGNS = {design.name: design for design in designs()}


def plan(name: str) -> Plan:
    return Finished(name).plan


@pytest.mark.parametrize("name", DESIGNS)
def test_each_can_be_planned_from_its_committed_file(name: str) -> None:
    made = Finished(name)
    assert made.experiment.metadata.name == name
    assert {f"score-{point}" for arm in made.arms for point in made.points(arm)} <= {s.name for s in made.plan.stages}


@pytest.mark.parametrize("task", [SHORT, LONG], ids=lambda task: str(task.format))
def test_what_two_have_in_common_is_computed_once(task: Task) -> None:
    keys = {}
    for name in (f"pairs-{PAIRS}", "beta-0-1", "pairs-50"):
        stages = plan(task.prefix + name).stages
        keys[name] = {stage.name: stage.key for stage in stages}
    usual = keys[f"pairs-{PAIRS}"]
    for name, found in keys.items():
        alike = {stage for stage, key in found.items() if usual.get(stage) == key}
        assert {"sample-d125-s3", "sft-d125-s0", "verify-d125-s0", "problems"} <= alike
        assert ("credit-d125-s0" in alike) and ("shared-prefix-d125-s0" in alike) == (name == f"pairs-{PAIRS}")


def test_no_test_problem_is_one_of_the_quickstarts() -> None:
    from misstep.problems.generated import GENERATORS

    for task in (SHORT, LONG):
        test = DESIGNS[f"{task.prefix}pairs-{PAIRS}"].experiment["spec"]["problems"]["test"]
        assert test["seed"] == 2, "the quickstart has 0 and 1"
        drawn = [{p.question for p in GENERATORS[task.format]("test", 200, seed)} for seed in (1, 2)]
        assert len(drawn[0] & drawn[1]) < 20
