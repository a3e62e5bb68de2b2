"""Arms that start from the model of another arm."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.cost import plan_cost, render
from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.params import ReportParams
from misstep.plan.planner import Plan, plan
from tests.plan.test_planner import ARMS, MODEL, experiment, keys

ROUNDS = """arms:
- {name: step-3, method: dpo, pairs: shared-prefix, from: step-2, sizes: [250]}
- {name: sft, method: sft}
- {name: step-2, method: dpo, pairs: shared-prefix, from: step}
- {name: step, method: dpo, pairs: shared-prefix}
- {name: whole-2, method: dpo, pairs: whole-response, from: step}
- {name: rft-2, method: rft, from: step}
"""


def inputs(made: Plan, name: str) -> dict[str, str]:
    """Role -> name of the stage that an input comes from."""
    return {role: made.by_key[key].name for role, key in made.stage(name).inputs.items()}


def test_the_model_of_the_named_arm_is_sampled_credited_and_the_start() -> None:
    made = plan(experiment(ROUNDS), MODEL)
    assert inputs(made, "sample-step-d250-s0") == {"problems": "problems", "policy": "step-d250-s0"}
    assert inputs(made, "verify-step-d250-s0") == {"problems": "problems", "samples": "sample-step-d250-s0"}
    sampled = {"problems": "problems", "samples": "sample-step-d250-s0", "verdicts": "verify-step-d250-s0"}
    assert inputs(made, "credit-step-d250-s0") == sampled | {"policy": "step-d250-s0"}
    own = {"policy": "step-d250-s0", "credit": "credit-step-d250-s0"}
    assert inputs(made, "pairs-step-2-d250-s0") == sampled | own
    assert inputs(made, "step-2-d250-s0") == {
        "problems": "problems",
        "policy": "step-d250-s0",
        "pairs": "pairs-step-2-d250-s0",
    }
    # RFT learns from that model's correct solutions, and trains the base model as always.
    rft = made.stage("rft-2-d250-s0")
    assert inputs(made, "rft-2-d250-s0") == sampled and rft.externals == MODEL
    assert inputs(made, "sample-step-2-d250-s0")["policy"] == "step-2-d250-s0"
    assert inputs(made, "step-3-d250-s0")["policy"] == "step-2-d250-s0"


def test_arms_that_start_from_one_model_share_its_samples_verdicts_and_credit() -> None:
    made = plan(experiment(ROUNDS), MODEL)
    for kind in ("sample", "verify", "credit"):
        shared = [s for s in made.stages if s.name == f"{kind}-step-d250-s0"]
        assert len(shared) == 1
        followers = {
            s.name for s in made.stages if shared[0].key in s.inputs.values() and s.kind is not StageKind.REPORT
        }
        expected = {"pairs-step-2-d250-s0", "pairs-whole-2-d250-s0"}
        assert expected <= followers
        assert ("rft-2-d250-s0" in followers) == (kind != "credit")
    assert made.stage("sample-d250-s0").key != made.stage("sample-step-d250-s0").key


def test_a_model_is_made_at_the_sizes_of_the_arms_that_start_from_it() -> None:
    skipped = ROUNDS.replace("name: step,", "name: step, sizes: [125],").replace(
        "from: step-2, sizes: [250]", "from: step-2"
    )
    made = plan(experiment(skipped), MODEL)
    assert made.stage("step-d250-s0").kind is StageKind.DPO
    names = {s.name for s in made.stages}
    assert "score-step-d250-s0" not in names and "test-step-d250-s0" not in names, "made, but not reported"
    report = made.report.typed_params()
    assert isinstance(report, ReportParams)
    assert {(p.arm, p.size) for p in report.grid if p.arm == "step"} == {("step", 125)}


def test_the_report_knows_the_starts_and_reads_the_policies() -> None:
    made = plan(experiment(ROUNDS), MODEL)
    report = made.report.typed_params()
    assert isinstance(report, ReportParams)
    for index, point in enumerate(report.grid):
        start = {"step-3": "step-2", "step-2": "step", "whole-2": "step", "rft-2": "step"}.get(point.arm)
        assert point.from_arm == start
        policy = made.report.inputs.get(f"policy_{index}")
        expected = None if point.arm == "sft" else f"{start or 'sft'}-d{point.size}-s0"
        assert (policy and made.by_key[policy].name) == expected


def test_arms_without_from_keep_their_keys() -> None:
    rounds = "- {name: step-2, method: dpo, pairs: shared-prefix, from: step}\n"
    before, after = plan(experiment(ARMS), MODEL), plan(experiment(ARMS + rounds), MODEL)
    assert keys(before) - keys(after) == {before.report.key}


def test_the_name_of_the_sft_arm_stands_for_sfts_policy() -> None:
    named = ARMS.replace("pairs: shared-prefix", "pairs: shared-prefix, from: sft").replace(
        "method: rft", "method: rft, from: sft"
    )
    assert plan(experiment(named), MODEL) == plan(experiment(ARMS), MODEL)


def test_the_same_arm_from_another_model_is_another_model() -> None:
    made = plan(experiment(ROUNDS), MODEL)
    assert len({made.stage(f"{name}-d250-s0").key for name in ("step", "step-2", "step-3")}) == 3


@pytest.mark.parametrize("name", ["sample-step", "credit-step", "test-step", "verify-step"])
def test_arms_whose_names_read_like_those_of_stages_are_refused(name: str) -> None:
    arms = ROUNDS + f"- {{name: {name}, method: rft}}\n"
    with pytest.raises(
        BadInput, match=rf"spec\.arms: {name}-d125-s0\. Two stages would have this name: rename the arm"
    ):
        plan(experiment(arms), MODEL)


def chains(draw: st.DrawFn) -> str:
    """Arms with any starts but circles, in any order."""
    count = draw(st.integers(1, 6))
    arms = ["{name: sft, method: sft}"]
    for number in range(count):
        start = draw(st.sampled_from([None, "sft", *(f"a{i}" for i in range(number))]))
        method = draw(st.sampled_from(["rft", *(f"dpo, pairs: {p}" for p in ("shared-prefix", "random"))]))
        sizes = draw(st.sampled_from(["", ", sizes: [125]", ", sizes: [250]"]))
        begin = "" if start is None else f", from: {start}"
        # Settings of its own, so that no two arms are one model.
        own = f", {method[:3]}: {{epochs: {number + 1}}}"
        arms.append(f"{{name: a{number}, method: {method}{begin}{sizes}{own}}}")
    return "arms:\n" + "".join(f"- {arm}\n" for arm in draw(st.permutations(arms)))


@settings(max_examples=40, deadline=None)
@given(arms=st.composite(chains)(), seeds=st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True))
def test_every_plan_with_rounds_is_ordered_complete_and_uniquely_named(arms: str, seeds: list[int]) -> None:
    made_from = experiment(arms + f"seeds: {seeds}")
    made = plan(made_from, MODEL)
    seen: set[str] = set()
    for stage in made.stages:
        assert stage.needs <= seen, "a stage stands after its inputs"
        seen.add(stage.key)
    assert len({s.name for s in made.stages}) == len(made.stages) == len(seen)
    # One set of samples for each policy that is learned from, each from the model of the arm that was named.
    by_name = {arm.name: arm for arm in made_from.spec.arms}
    drawn = [s for s in made.stages if s.kind is StageKind.SAMPLE and "policy" in s.inputs]
    assert len({s.inputs["policy"] for s in drawn}) == len(drawn)
    for stage in made.stages:
        if stage.kind is StageKind.DPO:
            arm = by_name[stage.name.rsplit("-d", 1)[0]]
            policy = made.by_key[stage.inputs["policy"]]
            assert policy.name == stage.name.replace(arm.name, arm.from_arm or "sft", 1)
            pairs = made.by_key[stage.inputs["pairs"]]
            assert made.by_key[pairs.inputs["samples"]].inputs["policy"] == policy.key
            if "credit" in pairs.inputs:
                assert made.by_key[pairs.inputs["credit"]].inputs["policy"] == policy.key
    # No stage is left that nobody needs.
    needed = {key for stage in made.stages for key in stage.needs} | {made.report.key}
    assert needed == seen
    cost = plan_cost(made, None)
    assert set(cost.stages) == {s.name for s in made.stages}
    assert cost.stages["report"] is not None and all(
        f'"{s.name}"' in render.as_mermaid(made, set()) for s in made.stages
    )
    again = [
        FrozenStage.model_validate(s) for s in map(_frozen, json.loads(render.as_json(made, cost, set()))["stages"])
    ]
    assert again == list(made.stages)


def _frozen(shown: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in shown.items() if name in FrozenStage.model_fields}


def test_sixteen_rounds_are_planned_at_once() -> None:
    arms = "arms:\n- {name: sft, method: sft}\n- {name: r1, method: dpo, pairs: shared-prefix}\n" + "".join(
        f"- {{name: r{n}, method: dpo, pairs: shared-prefix, from: r{n - 1}}}\n" for n in range(2, 16)
    )
    made = plan(experiment(arms), MODEL)
    assert sum(s.kind is StageKind.CREDIT for s in made.stages) == 15 * 2
