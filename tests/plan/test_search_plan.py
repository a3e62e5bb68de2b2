"""The plan of a search: it cannot reach the test problems, and shares the common stages of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.judging import Judging, judging
from misstep.plan.kinds import StageKind
from misstep.plan.params import ProblemsParams, SampleParams
from misstep.plan.planner import Plan, plan, plan_search
from misstep.search.grid import derived
from misstep.search.result import SearchResult
from misstep.search.walk import Walked, walk
from misstep.spec import Experiment, parse_experiment
from misstep.spec.load import check_document, read_document

MODEL = {"model": External(uri="/models/base", digest="sha256:1")}
EXAMPLES = sorted(Path("examples").glob("*.yaml"))
SEARCH: dict[str, Any] = {
    "seeds": [100, 101],
    "problems": 300,
    "sft": {"learningRate": [1e-3, 5e-4]},
    "dpo": {"beta": [0.1, 0.3], "epochs": [1, 2]},
}


def experiment(problems: str, search: Mapping[str, Any] = SEARCH, more: str = "") -> Experiment:
    return parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  problems: {problems}
  policy: {{model: {{path: base}}}}
  training: {{sft: {{selection: {{problems: 150}}}}, rft: {{selection: {{problems: 50}}}}}}
  arms:
  - {{name: sft, method: sft}}
  - {{name: rft, method: rft}}
  - {{name: random, method: dpo, pairs: random}}
  - {{name: step, method: dpo, pairs: shared-prefix}}
  search: {json.dumps(search)}
{more}
""")


STRIDES = """{train: {format: strides, limit: 4000}, validation: {format: strides, limit: 200},
    test: {format: strides, limit: 100}, sizes: [125, 250]}"""
FILES = "{train: {format: gsm8k, path: data}, sizes: [125]}"
SOURCES = {f"source_{split}": External(uri=f"/data/{split}", digest=f"sha256:{split}") for split in ("train", "test")}


def walked(of: Experiment, externals: Mapping[str, External], scores: Mapping[str, float] | None = None) -> Walked:
    """Walk a search whose every score is known, or none."""
    return walk(
        of, externals, judging(of, externals), lambda _, keys: None if scores is None else dict.fromkeys(keys, 0.5)
    )


def problems_of(made: Plan) -> ProblemsParams:
    params = made.stages[0].typed_params()
    assert isinstance(params, ProblemsParams)
    return params


def kinds(made: Plan) -> dict[StageKind, int]:
    return {kind: sum(stage.kind is kind for stage in made.stages) for kind in StageKind}


def refuse_test_problems(made: Plan) -> None:
    """Fail where any stage of a plan is given test problems."""
    for stage in made.stages:
        assert "source_test" not in stage.externals
        assert not any(external.digest == SOURCES["source_test"].digest for external in stage.externals.values())
        params = stage.typed_params()
        if isinstance(params, ProblemsParams):
            assert params.test is None and not stage.inputs
        if isinstance(params, SampleParams):
            assert params.split in ("train", "validation")
        if "problems" in stage.inputs:
            assert stage.inputs["problems"] in made.by_key


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_stage_of_any_examples_search_is_given_test_problems(path: Path) -> None:
    document = read_document(path)
    document["spec"]["search"] = {**SEARCH, "seeds": [900, 901]}
    given = check_document(document, str(path))
    outside = {**MODEL, "model_teacher": MODEL["model"], **SOURCES}
    found = walked(given, outside)
    refuse_test_problems(found.plan)
    # The experiment itself reads them: what the search lacks is there to be had.
    main = plan(given, outside)
    ingest = main.stages[0].typed_params()
    assert isinstance(ingest, ProblemsParams) and ingest.test is not None
    assert main.stages[0].key != found.plan.stages[0].key
    assert not {s.seed for s in _samples(found.plan)} & {s.seed for s in _samples(main)}


def _samples(made: Plan) -> list[SampleParams]:
    return [params for stage in made.stages if isinstance(params := stage.typed_params(), SampleParams)]


def test_settings_share_policies_samples_credit_and_pairs() -> None:
    found = walked(experiment(STRIDES), MODEL)
    count, sft, judged = kinds(found.plan), 2 * 2, 2 * (2 + 1 + 2 * 4)  # seeds x settings
    assert count == {
        StageKind.PROBLEMS: 1,
        StageKind.INSPECT: 1,
        StageKind.SYNTHESIZE: 0,
        StageKind.CURATE: 0,
        StageKind.SFT: sft,
        StageKind.SAMPLE: judged + 2,
        StageKind.VERIFY: judged + 2,
        StageKind.RFT: 2,
        StageKind.CREDIT: 2,
        StageKind.PAIRS: 4,
        StageKind.DPO: 2 * 2 * 4,
        StageKind.SCORE: judged,
        StageKind.REPORT: 0,
    }
    assert len({stage.name for stage in found.plan.stages}) == len(found.plan.stages)


def test_each_method_starts_from_the_best_sft() -> None:
    given = experiment(STRIDES)
    judged = judging(given, MODEL)

    def judge(made: Plan, keys: frozenset[str]) -> dict[str, float]:
        return {key: 0.9 if made.by_key[key].name.startswith("score-sft.2-") else 0.1 for key in keys}

    found = walk(given, MODEL, judged, judge)
    assert found.result is not None
    by_arm = {arm.arm: arm for arm in found.result.arms}
    assert list(by_arm) == ["sft", "rft", "random", "step"]
    assert by_arm["sft"].best.setting == {"learningRate": 5e-4}
    assert by_arm["step"].chosen == 0 and len(by_arm["step"].tried) == 4
    for stage in found.plan.stages:
        if stage.kind is StageKind.DPO:
            assert found.plan.by_key[stage.inputs["policy"]].params["optimiser"]["learning_rate"] == 5e-4
    assert SearchResult.model_validate_json(found.result.model_dump_json()) == found.result


def test_models_are_judged_behind_the_problems_that_choose_checkpoints() -> None:
    given = experiment(STRIDES)
    found = walked(given, MODEL)
    judged = [s for s in _samples(found.plan) if s.split == "validation"]
    assert {(s.skip, s.limit) for s in judged} == {(150, 300)}
    trained = (stage.typed_params() for stage in found.plan.stages if stage.kind in (StageKind.SFT, StageKind.RFT))
    assert max(t.selection.problems for t in trained) == 150  # type: ignore[attr-defined]
    main = problems_of(plan(given, MODEL))
    ours = problems_of(found.plan)
    assert main.validation is not None and ours.validation is not None
    assert (main.validation.limit, ours.validation.limit) == (200, 450)
    assert ours.validation.model_copy(update={"limit": 200}) == main.validation
    assert (ours.train, ours.validation_needed) == (main.train, 450)


def test_a_size_and_a_limit_of_the_test_are_not_the_searchs() -> None:
    given = experiment(STRIDES, {**SEARCH, "sizes": [40]}, "  evaluation: {limit: 10}")
    found = walked(given, MODEL)
    assert {s.subset.size for s in _samples(found.plan) if s.subset} == {40}
    assert {s.limit for s in _samples(found.plan) if s.split == "validation"} == {300}


def test_problems_are_held_out_as_the_experiment_holds_them_out_and_more_where_needed() -> None:
    assert problems_of(walked(experiment(FILES), MODEL | SOURCES).plan).held_out == 450
    more = experiment(FILES.replace("sizes", "holdOut: 500, sizes"))
    assert problems_of(walked(more, MODEL | SOURCES).plan).held_out == 500


def test_a_file_that_begins_with_the_test_problems_is_read_from_behind_them() -> None:
    one = {role: External(uri="/data/all", digest="sha256:all") for role in ("source_train", "source_test")}
    both = "{train: {format: gsm8k, path: a}, test: {format: gsm8k, path: a, limit: 70}, sizes: [125]}"
    found = problems_of(walked(experiment(both), MODEL | one).plan)
    assert (found.train.skip, found.test) == (70, None)
    third = one | {"source_validation": one["source_train"]}
    validated = both.replace("sizes", "validation: {format: gsm8k, path: a, limit: 200}, sizes")
    found = problems_of(walked(experiment(validated), MODEL | third).plan)
    assert found.validation is not None and (found.validation.skip, found.validation.limit) == (70, 70 + 450 + 90)
    whole = both.replace("test: {format: gsm8k, path: a, limit: 70}", "test: {format: gsm8k, path: b}")
    validated = whole.replace("sizes", "validation: {format: gsm8k, path: b}, sizes")
    with pytest.raises(BadInput, match=r"spec\.problems\.validation: .*a search must not see"):
        walked(experiment(validated), MODEL | SOURCES | {"source_validation": SOURCES["source_test"]})


def test_a_limit_that_leaves_too_little_to_train_on_is_refused_before_anything_runs() -> None:
    few = FILES.replace("path: data", "path: data, limit: 570")
    with pytest.raises(BadInput, match=r"train\.limit: 570\. The search holds 450 .* leaves 120 to train on, of 125"):
        walked(experiment(few), MODEL | SOURCES)
    walked(experiment(few.replace("570", "575")), MODEL | SOURCES)


def test_the_search_block_changes_no_key_of_the_experiment() -> None:
    with_it, without = experiment(STRIDES), experiment(STRIDES, {})
    assert plan(with_it, MODEL) == plan(without, MODEL)
    assert "skip" not in json.dumps([stage.params for stage in plan(with_it, MODEL).stages])


@given(
    skip=st.integers(0, 500),
    problems=st.integers(1, 500),
    limit=st.none() | st.integers(1, 2000),
    rows=st.integers(0, 99),
)
def test_the_experiments_validation_problems_are_a_prefix_of_the_searchs(
    skip: int, problems: int, limit: int | None, rows: int
) -> None:
    given = problems_of(plan(experiment(FILES), MODEL | SOURCES))
    source = given.train.model_copy(update={"limit": limit})
    given = given.model_copy(update={"validation": source})
    found = Judging(skip, problems, {"validation": rows}).problems_params(given)
    assert found.validation is not None and found.held_out == 0
    assert found.validation.model_copy(update={"limit": limit, "skip": 0}) == source
    if limit is not None:
        assert found.validation.limit is not None
        assert found.validation.limit >= max(limit, rows + skip + problems)


def test_a_round_may_have_more_arms_than_an_experiment() -> None:
    given = experiment(STRIDES)
    arms = [given.spec.arms[0], *(given.spec.arms[2].model_copy(update={"name": f"step.{i}"}) for i in range(40))]
    made, scores = plan_search(derived(given, arms), MODEL, judging(given, MODEL))
    assert len(scores) == 2 * 41
    assert kinds(made)[StageKind.DPO] == 2  # all alike: one setting
