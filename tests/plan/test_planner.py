"""What a plan shares, what it must not share, and what changes a key."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.cost import plan_cost, render
from misstep.plan.frozen import External, FrozenStage
from misstep.plan.kinds import KINDS, StageKind
from misstep.plan.params import InspectParams, PromptParams
from misstep.plan.planner import Plan, plan
from misstep.spec import Experiment, parse_experiment

MODEL = {"model": External(uri="/models/base", digest="sha256:1")}


def experiment(changes: str = "", sizes: str = "[125, 250]", name: str = "e") -> Experiment:
    lines = "\n".join(f"  {line}" for line in changes.splitlines())
    return parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: {name}}}   # a comment
spec:
  problems:
    train: {{format: strides, limit: 4000}}
    test: {{format: strides, limit: 100}}
    sizes: {sizes}
  policy: {{model: {{path: base}}}}
{lines}
""")


ARMS = """arms:
- {name: sft, method: sft}
- {name: rft, method: rft}
- {name: random, method: dpo, pairs: random}
- {name: step, method: dpo, pairs: shared-prefix}
- {name: whole, method: dpo, pairs: whole-response}
"""


def with_prompt(prompt: str) -> Experiment:
    """Return an Experiment whose policy is asked so."""
    document = experiment(ARMS).model_dump(mode="json", by_alias=True, exclude_unset=True)
    document["spec"]["policy"]["prompt"] = yaml.safe_load(prompt)
    return parse_experiment(json.dumps(document))


def kinds(made: Plan) -> dict[StageKind, int]:
    return {
        kind: sum(s.kind is kind for s in made.stages) for kind in StageKind if kind in {s.kind for s in made.stages}
    }


def keys(made: Plan, *wanted: StageKind) -> set[str]:
    return {s.key for s in made.stages if not wanted or s.kind in wanted}


def test_the_grid_shares_what_it_can_and_no_more() -> None:
    made = plan(experiment(ARMS), MODEL)
    # Per size: one policy, one set of its samples with verdicts and one credit, for all arms.
    assert kinds(made) == {
        StageKind.PROBLEMS: 1,
        StageKind.INSPECT: 1,
        StageKind.SFT: 2,
        StageKind.SAMPLE: 2 + 10,
        StageKind.VERIFY: 2 + 10,
        StageKind.RFT: 2,
        StageKind.CREDIT: 2,
        StageKind.PAIRS: 6,
        StageKind.DPO: 6,
        StageKind.SCORE: 10,
        StageKind.REPORT: 1,
    }


def test_samples_are_never_shared_between_sizes_or_seeds() -> None:
    made = plan(experiment(ARMS + "seeds: [0, 1]"), MODEL)
    drawn = [s for s in made.stages if s.name.startswith("sample-")]
    assert len({s.inputs["policy"] for s in drawn}) == len(drawn) == 4


def test_changing_beta_reruns_dpo_and_what_follows_and_nothing_else() -> None:
    before = plan(experiment(ARMS), MODEL)
    after = plan(experiment(ARMS + "training: {dpo: {beta: 0.2}}"), MODEL)
    changed = [s for s in after.stages if s.key not in keys(before)]
    dpo = {s.key for s in changed if s.kind is StageKind.DPO}
    assert len(dpo) == 6
    followers = set(dpo)
    for stage in after.stages:
        if followers & set(stage.inputs.values()):
            followers.add(stage.key)
    assert {s.key for s in changed} == followers
    assert keys(after, StageKind.CREDIT, StageKind.PAIRS, StageKind.SFT) <= keys(before)


def test_controls_share_the_credit_of_the_method_and_change_no_key() -> None:
    controls = "- {name: placebo, method: dpo, pairs: placebo-cut}\n- {name: oracle, method: dpo, pairs: oracle-pit}\n"
    before, after = plan(experiment(ARMS), MODEL), plan(experiment(ARMS + controls), MODEL)
    assert keys(before) - keys(after) == {before.report.key}
    assert kinds(after)[StageKind.CREDIT] == kinds(before)[StageKind.CREDIT]
    given = {name: after.stage(f"pairs-{name}-d125-s0") for name in ("random", "step", "placebo", "oracle")}
    assert {name: "credit" in stage.inputs for name, stage in given.items()} == {
        "random": False,
        "step": True,
        "placebo": True,
        "oracle": True,
    }
    assert {name: stage.params.get("oracle") for name, stage in given.items()} == {
        "random": None,
        "step": None,
        "placebo": None,
        "oracle": "strides",
    }
    assert all("oracle" not in given[name].params for name in ("random", "step", "placebo"))


PAIRING = ("per_negative", "chosen", "weight", "decoding")


def test_settings_of_pairs_rerun_pairs_and_what_follows_and_nothing_else() -> None:
    before = plan(experiment(ARMS), MODEL)
    assert all(name not in s.params for s in before.stages if s.kind is StageKind.PAIRS for name in PAIRING)
    written = "pairs: {perNegative: 1, chosen: random, weight: none, perProblem: 8}\ntraining: {rft: {filter: none}}"
    assert keys(plan(experiment(ARMS + written), MODEL)) == keys(before), "what is written as by default changes no key"
    for change in ("perNegative: 2", "chosen: shortest", "chosen: likeliest"):
        after = plan(experiment(ARMS + f"pairs: {{{change}}}"), MODEL)
        changed = {s.kind for s in after.stages if s.key not in keys(before)}
        assert {StageKind.PAIRS, StageKind.DPO} < changed and StageKind.CREDIT not in changed
        assert not keys(before, StageKind.PAIRS) & keys(after)
    # No pit, nothing to weigh.
    after = plan(experiment(ARMS + "pairs: {weight: advantage}"), MODEL)
    assert after.stage("pairs-random-d125-s0").key == before.stage("pairs-random-d125-s0").key
    assert after.stage("pairs-step-d125-s0").params["weight"] == "advantage"


def test_an_arm_replaces_single_fields_of_pairs() -> None:
    arms = ARMS.replace("pairs: shared-prefix}", "pairs: shared-prefix, pairing: {chosen: shortest, perNegative: 2}}")
    made = plan(experiment(arms + "pairs: {perProblem: 3, weight: advantage}"), MODEL)
    step, whole = (made.stage(f"pairs-{name}-d125-s0").params for name in ("step", "whole"))
    assert (step["chosen"], step["per_negative"], step["per_problem"], step["weight"]) == (
        "shortest",
        2,
        3,
        "advantage",
    )
    assert (whole.get("chosen"), whole.get("per_negative"), whole["per_problem"]) == (None, None, 3)


@pytest.mark.parametrize("layout", ["edit-distance", "teacher"])
def test_a_rule_of_a_layout_is_not_replaced_by_the_common_one(layout: str) -> None:
    arms = ARMS + f"- {{name: far, method: dpo, pairs: {layout}}}\n"
    before = plan(experiment(arms), MODEL).stage("pairs-far-d125-s0")
    assert plan(experiment(arms + "pairs: {chosen: shortest}"), MODEL).stage("pairs-far-d125-s0").key == before.key


def test_pairs_by_likelihood_get_a_models_resources() -> None:
    given = "\nresources: {default: {gpus: 2, shards: 3}}"
    plain = plan(experiment(ARMS + given.strip()), MODEL).stage("pairs-step-d125-s0")
    stage = plan(experiment(ARMS + "pairs: {chosen: likeliest}" + given), MODEL).stage("pairs-step-d125-s0")
    assert (plain.resources.gpus, plain.resources.memory_mib, plain.shards) == (0, 1024, 1)
    assert (stage.resources.gpus, stage.resources.memory_mib, stage.shards) == (2, 2048, 1)
    assert stage.params["decoding"]["engine"] == "transformers" and "policy" in stage.inputs
    cost = plan_cost(plan(experiment(ARMS + "pairs: {chosen: likeliest}"), MODEL), None)
    assert cost.stages["pairs-step-d125-s0"].memory is None, "a model whose shape is not known"


CREDIT_RIGHT = "credit: {positivesPerProblem: 2}\n"


def test_a_filter_makes_rft_wait_for_credit() -> None:
    before = plan(experiment(ARMS + CREDIT_RIGHT), MODEL)
    after = plan(experiment(ARMS + CREDIT_RIGHT + "training: {rft: {filter: advantage}}"), MODEL)
    assert "credit" not in before.stage("rft-d125-s0").inputs
    stage = after.stage("rft-d125-s0")
    assert stage.inputs["credit"] == after.stage("credit-d125-s0").key
    assert keys(before, StageKind.CREDIT, StageKind.PAIRS, StageKind.DPO) <= keys(after)
    assert not keys(before, StageKind.RFT) & keys(after)
    alone = plan(
        experiment(
            "arms: [{name: sft, method: sft}, {name: rft, method: rft, rft: {filter: advantage}}]\n" + CREDIT_RIGHT
        ),
        MODEL,
    )
    assert kinds(alone)[StageKind.CREDIT] == 2


def test_lucky_steps_share_the_credit_of_the_method() -> None:
    lucky = "- {name: lucky, method: dpo, pairs: lucky-step}\n"
    before, after = plan(experiment(ARMS + CREDIT_RIGHT), MODEL), plan(experiment(ARMS + lucky + CREDIT_RIGHT), MODEL)
    assert keys(before) - keys(after) == {before.report.key}
    assert kinds(after)[StageKind.CREDIT] == kinds(before)[StageKind.CREDIT]
    assert after.stage("pairs-lucky-d125-s0").inputs["credit"] == after.stage("credit-d125-s0").key


def test_an_arm_changes_single_fields_of_its_method() -> None:
    arms = ARMS.replace("pairs: shared-prefix}", "pairs: shared-prefix, dpo: {beta: 0.5}}")
    made = plan(experiment(arms + "training: {dpo: {learningRate: 3e-6}}"), MODEL)
    params = made.stage("step-d125-s0").params
    assert params["beta"] == 0.5 and params["optimiser"]["learning_rate"] == 3e-6
    assert made.stage("whole-d125-s0").params["beta"] == 0.1


def test_names_comments_storage_and_resources_change_no_key() -> None:
    before = plan(experiment(ARMS), MODEL)
    moved = plan(
        experiment(ARMS + "storage: {uri: 's3://b/p'}\nresources: {default: {memory: 8Gi, shards: 3}}", name="other"),
        {"model": External(uri="s3://elsewhere/base", digest="sha256:1")},
    )
    assert [s.key for s in before.stages] == [s.key for s in moved.stages]


def test_adding_a_size_keeps_all_finished_work_but_the_report() -> None:
    before, after = plan(experiment(ARMS), MODEL), plan(experiment(ARMS, sizes="[125, 250, 500]"), MODEL)
    assert keys(before) - keys(after) == {before.report.key}


def test_another_model_is_another_everything_but_problems() -> None:
    before, after = plan(experiment(), MODEL), plan(experiment(), {"model": External(uri="x", digest="sha256:2")})
    assert keys(before) & keys(after) == {before.stages[0].key}


def test_a_model_is_checked_before_anything_is_trained() -> None:
    made = plan(experiment(ARMS), MODEL)
    check = made.stage("inspect")
    assert check.inputs == {"problems": made.stage("problems").key} and check.externals == MODEL
    assert check.typed_params() == InspectParams(prompt=PromptParams(style="plain", template="{question}\n"))
    trained = {s.name for s in made.stages if s.kind in (StageKind.SFT, StageKind.RFT)}
    assert {s.name for s in made.stages if check.key in s.needs} == trained
    assert {s.after for s in made.stages if s.name in trained} == {(check.key,)}
    # Every other stage that runs a model runs one that was trained.
    assert {s.name for s in made.stages if "model" in s.externals} == trained | {"inspect"}
    assert made.dependencies(made.stage("sft-d125-s0")) == ("inspect", "problems")


def test_another_version_of_the_check_checks_again_and_does_nothing_else_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(experiment(ARMS), MODEL)
    newer = replace(KINDS[StageKind.INSPECT], version=KINDS[StageKind.INSPECT].version + 1)
    monkeypatch.setitem(KINDS, StageKind.INSPECT, newer)
    after = plan(experiment(ARMS), MODEL)
    assert keys(before) - keys(after) == keys(before, StageKind.INSPECT)
    assert after.stage("sft-d125-s0").after == (after.stage("inspect").key,)


@pytest.mark.parametrize(
    "change",
    [
        "credit: {rollouts: 8, maxSteps: 4, stepRule: sentences}",
        "sampling: {samples: 8, temperature: 1, stop: [Problem], maxNewTokens: 64}",
        "training: {sft: {learningRate: 1e-3, epochs: 9}, rft: {batchSize: 8}, dpo: {beta: 0.2}}",
        "evaluation: {samples: 7}\npairs: {perProblem: 2}\nseeds: [3]",
        "resources: {inspect: {memory: 8Gi, cpus: 4}}",
    ],
    ids=lambda change: change.partition(":")[0],
)
def test_a_model_is_not_checked_again_for_what_its_check_does_not_read(change: str) -> None:
    before, after = plan(experiment(), MODEL), plan(experiment(change), MODEL)
    assert after.stage("inspect").key == before.stage("inspect").key
    if change.startswith("credit"):
        assert keys(after, StageKind.SFT, StageKind.RFT) == keys(before, StageKind.SFT, StageKind.RFT)


@pytest.mark.parametrize(
    "prompt",
    [
        "{template: 'Q: {question}'}",
        "{style: chat}",
        "{examples: [{question: a, solution: b}]}",
        "{preset: gsm8k-base}",
        "{style: chat, templateArguments: {enable_thinking: false}}",
    ],
)
def test_another_prompt_is_checked_and_trained_anew(prompt: str) -> None:
    before, after = plan(experiment(ARMS), MODEL), plan(with_prompt(prompt), MODEL)
    assert keys(before) & keys(after) == keys(before, StageKind.PROBLEMS)


def test_template_arguments_are_part_of_every_key_that_has_a_prompt() -> None:
    def planned(arguments: str) -> Plan:
        return plan(with_prompt(f"{{style: chat, templateArguments: {arguments}}}"), MODEL)

    off = planned("{enable_thinking: false}")
    for other in ("{}", "{enable_thinking: true}", "{enable_thinking: 'false'}", "{enable_thinking: 0}"):
        assert keys(off) & keys(planned(other)) == keys(off, StageKind.PROBLEMS), other
    assert keys(off) == keys(planned("{'enable_thinking': no}")), "another spelling of false"
    for kind in (StageKind.INSPECT, StageKind.SFT, StageKind.RFT, StageKind.SAMPLE, StageKind.DPO):
        (prompt,) = {json.dumps(s.params["prompt"], sort_keys=True) for s in off.stages if s.kind is kind}
        assert json.loads(prompt)["template_arguments"] == {"enable_thinking": False}


TEACHER = "teacher: {kind: endpoint, endpoint: {url: 'http://localhost:8000/v1', model: m}%s}\n"


def test_a_teacher_puts_two_stages_before_all_others() -> None:
    made = plan(experiment(ARMS + TEACHER % ""), MODEL)
    assert [s.name for s in made.stages[:5]] == ["seeds", "inspect-policy", "synthesize", "problems", "inspect"]
    seeds, policy, drafts, problems, _ = made.stages[:5]
    assert [s.kind for s in (seeds, drafts, problems)] == [
        StageKind.PROBLEMS,
        StageKind.SYNTHESIZE,
        StageKind.CURATE,
    ]
    assert drafts.inputs == {"seeds": seeds.key} and problems.inputs == {"seeds": seeds.key, "drafts": drafts.key}
    assert {s.inputs["problems"] for s in made.stages[4:]} == {problems.key}
    # No teacher is paid for a policy that cannot be used.
    assert drafts.after == (policy.key,) and policy.inputs == {} and policy.externals == MODEL
    assert policy.params == made.stage("inspect").params


def test_a_teacher_keeps_the_keys_of_experiments_without_one() -> None:
    made = plan(experiment(ARMS), MODEL)
    assert made.stages[0].key == "problems-43a6553b9d48a1ae8b50"
    assert made.report.key == "report-7cb1b836afb3e52da7eb"
    assert "seeds" not in made.stages[0].params
    assert plan(experiment(ARMS + "teacher: {kind: dataset}"), MODEL).report.key == made.report.key


def test_curation_alone_reruns_where_only_it_changes() -> None:
    before = plan(experiment(TEACHER % ""), MODEL)
    after = plan(experiment(TEACHER % ", nearDuplicatePercent: 80"), MODEL)
    assert [s.key for s in before.stages[:3]] == [s.key for s in after.stages[:3]]
    assert not keys(before, StageKind.CURATE, StageKind.SFT) & keys(after)


def test_a_local_teacher_is_an_external_of_its_stage_alone() -> None:
    local = "teacher: {kind: model, model: {model: {path: big}}}\nresources: {default: {gpus: 2, shards: 3}}"
    given = MODEL | {"model_teacher": External(uri="/models/big", digest="sha256:2")}
    made = plan(experiment(local), given)
    assert [s.name for s in made.stages if "model_teacher" in s.externals] == ["synthesize"]
    assert {s.name for s in made.stages if given["model_teacher"] in s.externals.values()} == {
        "inspect-teacher",
        "synthesize",
    }
    check = made.stage("inspect-teacher")
    assert check.inputs == {} and check.typed_params() == InspectParams(prompt=None)
    assert made.stage("synthesize").inputs == {"seeds": made.stage("seeds").key}
    assert made.stage("synthesize").after == (made.stage("inspect-policy").key, check.key)
    assert (check.resources.gpus, made.stage("inspect").resources.gpus, check.shards) == (0, 0, 1)
    stage = made.stage("synthesize")
    assert (stage.resources.gpus, stage.shards, stage.endpoint) == (2, 3, None)
    remote = plan(experiment(TEACHER % "" + "resources: {default: {gpus: 2}}"), MODEL).stage("synthesize")
    assert remote.resources.gpus == 0 and remote.endpoint is not None


def test_keys_are_stable_across_releases() -> None:
    """A change here re-keys users' finished work: raise the kind's version in ``KINDS``, or undo the change."""
    made = plan(experiment(ARMS), MODEL)
    frozen = FrozenStage.model_validate_json(made.report.model_dump_json())
    assert frozen == made.report


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=5, unique=True).map(sorted),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_every_plan_is_ordered_complete_and_uniquely_named(sizes: list[int], seeds: list[int]) -> None:
    made = plan(experiment(ARMS + f"seeds: {seeds}", sizes=str(sizes)), MODEL)
    seen: set[str] = set()
    for stage in made.stages:
        assert stage.needs <= seen, "a stage stands after its inputs, and after the checks that it waits for"
        assert stage.typed_params().model_dump(mode="json") == stage.params
        seen.add(stage.key)
    assert len({s.name for s in made.stages}) == len(made.stages) == len(seen)
    cost = plan_cost(made, None)
    assert set(cost.stages) == {s.name for s in made.stages}
    assert len(json.loads(render.as_json(made, cost, set()))["stages"]) == len(made.stages)


@pytest.mark.no_cover
def test_planning_a_large_grid_takes_under_a_second() -> None:
    sizes = str([100 * 2**i for i in range(5)])
    arms = ARMS + "- {name: edit, method: dpo, pairs: edit-distance}\nseeds: [0, 1, 2, 3, 4]"
    wide = experiment(arms, sizes=sizes)
    start = time.perf_counter()
    made = plan(wide, MODEL)
    assert time.perf_counter() - start < 1.0
    assert kinds(made)[StageKind.SCORE] == 6 * 5 * 5


def test_mermaid_names_every_stage() -> None:
    made = plan(experiment(ARMS), MODEL)
    text = render.as_mermaid(made, {made.stages[0].key})
    assert text.startswith("flowchart") and "problems:::done" in text.replace('["problems"]', "")
    assert all(f'"{s.name}"' in text for s in made.stages)


def test_trackers_enter_no_key() -> None:
    tracked = experiment(f'{ARMS}tracking: {{mlflow: {{uri: "http://localhost:5000"}}, tensorboard: {{}}}}')
    assert tracked.spec.tracking.names == ("mlflow", "tensorboard")
    assert plan(tracked, MODEL) == plan(experiment(ARMS), MODEL)
