"""Work is counted by the documented formulas, and is never expected to exceed the settings' limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.cost import PlanCost, plan_cost
from misstep.cost.amounts import Work
from misstep.cost.architecture import Architecture, known_architecture
from misstep.cost.show import explanation, group_rows, notes, total_lines
from misstep.plan.frozen import External
from misstep.plan.kinds import StageKind
from misstep.plan.planner import plan
from misstep.spec import Experiment, parse_experiment

MODEL = {"model": External(uri="/models/base", digest="sha256:1")}
TEACHER = {"model_teacher": External(uri="/models/teacher", digest="sha256:3")}
ONE = "\ncredit: {negativesPerProblem: 1}\npairs: {perProblem: 1}"
ALL_ALIKE = "assumptions: {correctPercent: 50, wrongPercent: 50, solvedPercent: 100, steps: 4, responseTokens: 40}"


def smollm() -> Architecture:
    found = known_architecture("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert found is not None
    return found


def teacher() -> Architecture:
    return smollm().model_copy(update={"name": "teacher"})


def experiment(changes: str, size: int = 100) -> Experiment:
    lines = "\n".join(f"  {line}" for line in changes.splitlines())
    return parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  problems:
    train: {{format: gsm8k, path: data}}
    sizes: [{size}]
  policy: {{model: {{path: base}}}}
{lines}
""")


def cost_of(changes: str, size: int = 100) -> PlanCost:
    made = experiment(changes, size)
    sources = {f"source_{split}": External(uri="x", digest="sha256:2") for split in ("train", "test")}
    return plan_cost(plan(made, MODEL | sources), smollm(), made.spec.assumptions)


def work(cost: PlanCost, name: str) -> Work:
    return cost.stages[name].work


def test_further_pairs_count_at_most_and_are_not_expected() -> None:
    one, two = (
        work(
            cost_of(f"credit: {{negativesPerProblem: 2}}\npairs: {{perNegative: {each}}}\n" + ALL_ALIKE),
            "dpo-step-d100-s0",
        )
        for each in (1, 2)
    )
    assert two.trained == one.trained and two.most_trained > one.most_trained


def test_lucky_steps_are_fewer_than_the_correct_solutions_that_are_credited() -> None:
    arms = "arms: [{name: sft, method: sft}, {name: lucky, method: dpo, pairs: lucky-step}]\n"
    one, two = (
        work(cost_of(arms + f"credit: {{positivesPerProblem: {most}}}\n" + ALL_ALIKE, 1000), "lucky-d1000-s0")
        for most in (1, 2)
    )
    assert 0 < one.trained < two.trained and one.trained < one.most_trained < two.most_trained


def test_pairs_by_likelihood_need_the_memory_of_a_model() -> None:
    plain, scored = (
        cost_of(f"pairs: {{chosen: {rule}}}").stages["pairs-dpo-step-d100-s0"].memory
        for rule in ("random", "likeliest")
    )
    assert plain is not None and scored is not None and scored.mib > 2 * plain.mib


def test_a_full_scan_costs_what_its_formula_says() -> None:
    changes = "credit: {estimator: full-scan, rollouts: 5, negativesPerProblem: 1, auditPercent: 0}\n" + ALL_ALIKE
    found = work(cost_of(changes), "credit-d100-s0")
    # Every problem gives one wrong solution: T - 1 = 3 prefixes, 5 rollouts each; K L (T - 1) / 2 tokens.
    assert found.items == pytest.approx(100 * 3 * 5, rel=0.01)
    assert found.generated == pytest.approx(100 * 5 * 40 * 3 / 2, rel=0.01)


def test_an_audit_costs_its_share_of_two_scans() -> None:
    def rollouts(percent: int) -> float:
        credit = f"credit: {{estimator: adaptive, rollouts: 5, auditPercent: {percent}}}\n"
        found = work(cost_of(credit + ALL_ALIKE), "credit-d100-s0")
        assert found.items is not None
        return found.items

    negatives = (rollouts(10) - rollouts(0)) / (0.1 * 2 * 3 * 5)
    assert rollouts(20) - rollouts(0) == pytest.approx(0.2 * 2 * 3 * 5 * negatives)


def test_positives_cost_full_scans() -> None:
    none = work(cost_of("credit: {rollouts: 5}\n" + ALL_ALIKE), "credit-d100-s0")
    some = work(cost_of("credit: {rollouts: 5, positivesPerProblem: 1}\n" + ALL_ALIKE), "credit-d100-s0")
    assert none.items is not None
    assert some.items is not None
    assert some.items - none.items == pytest.approx(100 * 3 * 5, rel=0.05)


def test_stopping_at_the_pit_costs_less_and_choosing_rollouts_least() -> None:
    def rollouts(estimator: str, steps: int) -> float:
        changes = ALL_ALIKE.replace("steps: 4", f"steps: {steps}")
        found = work(cost_of(f"credit: {{estimator: {estimator}}}\n" + changes), "credit-d100-s0")
        assert found.items is not None
        return found.items

    for steps in (4, 16):
        assert rollouts("adaptive", steps) < rollouts("sequential", steps) < rollouts("full-scan", steps)
    assert rollouts("bisection", 16) < rollouts("full-scan", 16)


def test_samples_too_few_to_value_the_problem_cost_rollouts_of_it() -> None:
    few = work(cost_of("sampling: {samples: 4}\ncredit: {negativesPerProblem: 1}\n" + ALL_ALIKE), "credit-d100-s0")
    many = work(cost_of("sampling: {samples: 8}\ncredit: {negativesPerProblem: 1}\n" + ALL_ALIKE), "credit-d100-s0")
    assert few.generated > many.generated


def test_training_reads_every_row_once_an_epoch_and_of_pairs_the_common_beginning_once() -> None:
    changes = "assumptions: {questionTokens: 20, solutionTokens: 30}\ntraining: {sft: {epochs: 2, batchSize: 10}}"
    sft = work(cost_of(changes), "sft-d100-s0")
    assert sft.items == 20
    assert sft.trained == pytest.approx(100 * 2 * (20 + 30), rel=0.01)
    dpo = work(cost_of("training: {dpo: {epochs: 3}}"), "dpo-random-d100-s0")
    assert dpo.scored == pytest.approx(dpo.trained / 3)

    def of_a_pair(layout: str) -> float:
        arms = f"arms: [{{name: sft, method: sft}}, {{name: dpo, method: dpo, pairs: {layout}}}]"
        one = work(cost_of(f"{ALL_ALIKE[:-1]}, questionTokens: 20, pairsPercent: 100}}\n{arms}{ONE}"), "dpo-d100-s0")
        return one.scored / 100  # every problem gives one pair

    # P = 20, L = 40, T = 4, the pit half way: P + 2L, P + L + L/2, P + L + L/4.
    assert of_a_pair("random") == pytest.approx(20 + 80, rel=0.01)
    assert of_a_pair("whole-response") == pytest.approx(20 + 60, rel=0.01)
    assert of_a_pair("shared-prefix") == of_a_pair("placebo-cut") == pytest.approx(20 + 50, rel=0.01)


def test_the_test_sets_size_is_known_for_the_benchmarks() -> None:
    found = work(cost_of("evaluation: {samples: 2}"), "test-sft-d100-s0")
    assert found.items == 2 * 1319


@settings(max_examples=60, deadline=None)
@given(
    estimator=st.sampled_from(["full-scan", "sequential", "bisection"]),
    samples=st.integers(1, 20),
    negatives=st.integers(1, 10),
    pairs=st.integers(1, 10),
    steps=st.integers(1, 30),
    shares=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)),
    most=st.one_of(st.none(), st.integers(1, 50)),
)
def test_nothing_is_expected_above_its_bound(
    estimator: str,
    samples: int,
    negatives: int,
    pairs: int,
    steps: int,
    shares: tuple[int, int, int, int],
    most: int | None,
) -> None:
    correct, wrong, solved, pit = shares
    limit = f", maxNegatives: {most}" if most else ""
    cost = cost_of(
        f"sampling: {{samples: {samples}}}\n"
        f"credit: {{estimator: {estimator}, negativesPerProblem: {negatives}{limit}}}\n"
        f"pairs: {{perProblem: {pairs}}}\n"
        f"assumptions: {{correctPercent: {correct}, wrongPercent: {wrong}, solvedPercent: {solved}, pitPercent: {pit}, "
        f'steps: "{steps}"}}'
    )
    for name, found in cost.stages.items():
        amounts = found.work
        assert amounts.generated <= amounts.most_generated + 1e-6, name
        assert amounts.trained <= amounts.most_trained + 1e-6, name
        assert (amounts.items or 0) <= (amounts.most_items or 0) + 1e-6, name
        assert min(amounts.generated, amounts.read, amounts.trained, amounts.scored) >= 0, name
        if found.memory and found.most_memory:
            assert found.memory.mib <= found.most_memory.mib


SEEDS = 100
ENDPOINT = "teacher: {kind: endpoint, solutions: 5, endpoint: {url: 'http://h/v1', model: m%s}}\n"


def with_teacher(changes: str) -> PlanCost:
    made = experiment(changes)
    limited = made.spec.problems.train.model_copy(update={"limit": SEEDS + made.spec.problems.hold_out})
    problems = made.spec.problems.model_copy(update={"train": limited})
    made = made.model_copy(update={"spec": made.spec.model_copy(update={"problems": problems})})
    sources = {f"source_{split}": External(uri="x", digest="sha256:2") for split in ("train", "test")}
    return plan_cost(plan(made, MODEL | sources | TEACHER), smollm(), made.spec.assumptions, teacher())


def test_a_teacher_is_asked_for_each_problem_its_check_and_its_solutions() -> None:
    found = with_teacher(ENDPOINT % "" + "assumptions: {questionTokens: 60, solutionTokens: 95}")
    drafts = found.stages["synthesize"]
    assert drafts.work.items == SEEDS * (2 + 5)
    assert drafts.work.generated == pytest.approx(SEEDS * (2 * 60 + 5 * 95))
    assert drafts.work.most_generated == SEEDS * 7 * 1024
    assert drafts.hours is None, "the endpoint's own machines are not counted"


def test_a_local_teacher_reads_a_problem_once_for_all_its_solutions_and_takes_memory() -> None:
    local = "teacher: {kind: model, solutions: 5, model: {model: {path: big}}}"
    own, endpoint = (with_teacher(text).stages["synthesize"] for text in (local, ENDPOINT % ""))
    assert own.work.generated == endpoint.work.generated
    assert own.work.read < endpoint.work.read
    assert own.hours and own.memory and own.memory.mib > 880
    assert (
        own.work.tokens
        > with_teacher(local.replace("{kind", "{newProblemsPerSeed: 0, kind")).stages["synthesize"].work.tokens
    )


def test_a_check_of_a_model_takes_no_time_and_the_memory_of_its_libraries_and_tokenizer() -> None:
    found = cost_of("").stages["inspect"]
    assert (found.hours, found.work.tokens, found.on_gpu) == (None, 0, False)
    assert found.memory is not None and found.memory == found.most_memory
    assert found.memory.mib == pytest.approx(850 + smollm().vocabulary * 3500 / 2**20)
    assert found.memory.mib < found.stage.resources.memory_mib == 2048
    local = with_teacher("teacher: {kind: model, solutions: 5, model: {model: {path: big}}}")
    checked = {name: local.coster.model_of(local.stages[name].stage) for name in ("inspect", "inspect-teacher")}
    assert checked == {"inspect": smollm(), "inspect-teacher": teacher()}


def test_no_more_is_expected_of_a_teacher_than_its_budget() -> None:
    prices = "pricePerMillionInput: 1, pricePerMillionOutput: 2"
    found = with_teacher(ENDPOINT % f", budget: {{maxTokens: 10000, {prices}}}").stages["synthesize"].work
    assert found.tokens == pytest.approx(10_000)
    assert found.most_generated == 10_000
    found = with_teacher(ENDPOINT % f", budget: {{maxCost: 0.01, {prices}}}").stages["synthesize"].work
    assert found.read * 1e-6 + found.generated * 2e-6 == pytest.approx(0.01)


def test_without_the_models_shape_work_is_known_and_the_rest_is_asked_for() -> None:
    made = experiment("")
    sources = {f"source_{split}": External(uri="x", digest="sha256:2") for split in ("train", "test")}
    planned = plan(made, MODEL | sources)
    cost = plan_cost(planned, None)
    assert cost.hours(on_gpu=False) == 0.0
    assert "config.json" in notes(cost)[0]
    assert len(explanation(planned, cost)) > 10
    assert "tokens generated" in total_lines(planned, cost, set())[1]


def test_rates_of_the_yaml_replace_the_tables() -> None:
    before, after = cost_of(""), cost_of("assumptions: {tokensPerSecond: {train: 1}}")
    name = "sft-d100-s0"
    hours = after.stages[name].hours
    assert hours is not None
    assert hours > work(after, name).trained / 3600 > (before.stages[name].hours or 0)


def test_a_thousand_stages_fit_on_a_page() -> None:
    made = experiment("seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]")
    spec = made.spec.model_copy(
        update={"problems": made.spec.problems.model_copy(update={"sizes": [2**i for i in range(6, 12)]})}
    )
    made = made.model_copy(update={"spec": spec})
    sources = {f"source_{split}": External(uri="x", digest="sha256:2") for split in ("train", "test")}
    planned = plan(made, MODEL | sources)
    assert len(planned.stages) > 1000
    rows = group_rows(planned, plan_cost(planned, smollm()), set())
    assert len(rows) < 60
    assert {row[0].split(" x ")[-1].split()[0] for row in rows} == set(StageKind) - {
        StageKind.SYNTHESIZE,
        StageKind.CURATE,
    }


def test_the_epoch_that_a_policy_names_is_scored_and_counted_too() -> None:
    """Of eight epochs 1, 2 and 3 are scored by default, and the last one; a named epoch is one more."""

    def generated(policy: str) -> float:
        return work(cost_of(f"training: {{sft: {{epochs: 8, policy: {policy}}}}}"), "sft-d100-s0").generated

    plain = generated("{}")
    assert generated("{epoch: 5}") == pytest.approx(plain * 5 / 4)
    assert generated("{epoch: 2}") == plain
