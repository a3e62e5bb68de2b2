"""A wrong file is refused with the field, its value and the fix; a right one is understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.errors import BadInput
from misstep.spec import load_experiment, parse_experiment
from misstep.spec.cluster import PodSettings
from misstep.spec.fields import number_text

SHORT = """
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata:
  name: short
spec:
  problems:
    train: {format: gsm8k, path: data/gsm8k}
    sizes: [1000, 2000, 4000]
  policy:
    model: {path: models/base}
"""


def with_spec(lines: str) -> str:
    return SHORT + "\n".join(f"  {line}" for line in lines.splitlines()) + "\n"


def with_test(train: str, test: str) -> str:
    return SHORT.replace("path: data/gsm8k}", f"{train}}}\n    test: {{format: gsm8k, {test}}}")


def complaint(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        parse_experiment(text)
    assert caught.value.exit_code == 64
    return str(caught.value)


def test_the_shortest_useful_file_has_every_default() -> None:
    spec = parse_experiment(SHORT).spec
    assert [arm.name for arm in spec.arms] == ["sft", "rft", "dpo-random", "dpo-step"]
    assert spec.credit.best_of == 5 and spec.training.dpo.beta == 0.1 and spec.seeds == [0]


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_valid(path: Path) -> None:
    assert load_experiment(path).metadata.name == path.stem.replace(".", "-")  # Kubernetes takes no dots here


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("resources: {inspect: {memry: 8Gi}}", "spec.resources.inspect.memry: no such field. Did you mean memory?"),
        ("credit: {rollout: 5}", "spec.credit.rollout: no such field. Did you mean rollouts?"),
        ("credit: {rollouts: 3}", "rollouts, 3, must be at least bestOf, 5"),
        ("credit: {rollouts: many}", "spec.credit.rollouts: many. Write a whole number without quotes."),
        ("training: {dpo: {beta: true}}", "spec.training.dpo.beta: True. Write a number, for example 0.7 or 5e-7."),
        ("training: {dpo: {beta: much}}", "spec.training.dpo.beta: much. Write a number, for example 0.7 or 5e-7."),
        ('training: {dpo: {beta: "-1"}}', "spec.training.dpo.beta: -1. Write a number"),
        ("training: {dpo: {beta: -0.1}}", "spec.training.dpo.beta: -0.1. Write a number of zero or more."),
        ("training: {dpo: {beta: .inf}}", "spec.training.dpo.beta: inf. Write a finite number."),
        ("training: {dpo: {beta: .nan}}", "spec.training.dpo.beta: nan. Write a finite number."),
        ("training: {dpo: {beta: 1e400}}", "spec.training.dpo.beta: inf. Write a finite number."),
        (f"training: {{dpo: {{beta: 1{'0' * 400}}}}}", "Write a finite number."),
        ("training: {dpo: {beta: null}}", "spec.training.dpo.beta: None. Write a number"),
        ("training: {dpo: {beta: [0.1]}}", "spec.training.dpo.beta: [0.1]. Write a number"),
        ("evaluation: {topP: 1.5}", "spec.evaluation.topP: 1.5. Input should be less than or equal to 1."),
        ("evaluation: {topP: 0}", "spec.evaluation.topP: 0.0. Input should be greater than 0."),
        ("training: {sft: {batchSize: 64, microBatchSize: 48}}", "must divide batchSize"),
        (
            "resources: {sft: {nodes: 2, processesPerNode: 3}}",
            "training.sft.batchSize, 64, must be a multiple of the 6 processes that share it",
        ),
        (
            "training: {dpo: {batchSize: 64, microBatchSize: 32}}\nresources: {default: {gpus: 4}}",
            "training.dpo.microBatchSize, 32, times 4 processes (resources: nodes x processesPerNode, or gpus) must",
        ),
        (
            "training: {rft: {loraRank: 8}}\nresources: {rft: {gpus: 2, zeroStage: 3}}",
            "training.rft.loraRank: adapters cannot be trained with zeroStage 3",
        ),
        ("resources: {default: {memory: 2GB}}", "Write a whole number of Mi or Gi"),
        ("arms: [{name: a, method: rft}]", "exactly one arm must have method sft"),
        ("arms: [{name: a, method: sft}, {name: b, method: dpo}]", "pairs belongs to method dpo"),
        ("arms: [{name: a, method: sft}, {name: b, method: rft, sizes: [7]}]", "problems.sizes lacks: [7]"),
        (
            "arms: [{name: a, method: sft}, {name: b, method: dpo, pairs: oracle-pit}]",
            "arm b has pairs oracle-pit, which need the true first error of a solution: known for "
            "problems.train.format strides, long-strides, not for gsm8k; take placebo-cut, or leave the arm out",
        ),
        (
            "arms: [{name: a, method: sft}, {name: b, method: dpo, pairs: lucky-step}]",
            "arm b has pairs lucky-step, which need credit of correct solutions: set credit.positivesPerProblem",
        ),
        (
            "arms: [{name: a, method: sft}, {name: b, method: rft, rft: {filter: advantage}}]",
            "training.rft.filter: advantage (arm b) needs credit of correct solutions: set credit.positivesPerProblem",
        ),
        (
            "credit: {estimator: sequential}\npairs: {weight: advantage}",
            "pairs.weight: advantage (arm dpo-step) needs to know how far the chance of success falls, which "
            "credit.estimator sequential does not say: take adaptive or full-scan",
        ),
        (
            "arms: [{name: a, method: sft}, {name: b, method: dpo, pairs: random, pairing: {weight: advantage}}]",
            "pairing.weight: advantage belongs to pairs of a pit (shared-prefix, whole-response, placebo-cut, ",
        ),
        ("pairs: {chosen: longer}", "spec.pairs.chosen: longer"),
        ("evaluation: {temperature: 0}", "set samples to 1"),
        ("evaluation: {passAt: [1, 8]}", "pass@8 needs"),
        ("seeds: [1, 1]", "seeds must be different"),
        ("suspend: later", "spec.suspend: later. Write true or false."),
        ("cluster: {sftt: {}}", "spec.cluster.sftt: no such field. Did you mean sft?"),
        ("cluster: {defaults: {sharedMemory: 8GB}}", "spec.cluster.defaults.sharedMemory: 8GB."),
        ("cluster: {defaults: {nodeSelector: {pool: a b}}}", "spec.cluster.defaults.nodeSelector.pool: a b."),
        ("cluster: {sft: {tolerations: [{value: a}]}}", "tolerates every taint: give key, or operator: Exists"),
        ("cluster: {sft: {tolerations: [{operator: Exists, value: a}]}}", "remove value, or set operator to Equal"),
        ("cluster: {sft: {tolerations: [{key: a, tolerationSeconds: 1}]}}", "belongs to effect NoExecute"),
        ('cluster: {sft: {env: [{name: A, value: ""}, {name: A, value: ""}]}}', "env needs different names"),
        ("storage: {uri: /tmp/x}", "spec.storage.uri"),
        ("policy2: 1", "spec.policy2: no such field. Did you mean policy?"),
    ],
)
def test_a_wrong_field_is_named_with_its_fix(lines: str, said: str) -> None:
    assert said in complaint(with_spec(lines))


def with_prompt(fields: str) -> str:
    return SHORT + f"    prompt: {{style: chat, {fields}}}\n"


def test_template_arguments_keep_their_names_and_types() -> None:
    given = "{enable_thinking: false, date_string: 26 Jul 2024, level: 3, text: '3', keepCase: b}"
    found = parse_experiment(with_prompt(f"templateArguments: {given}")).spec.policy.prompt
    expected = {
        "enable_thinking": False,
        "date_string": "26 Jul 2024",
        "level": 3,
        "text": "3",
        "keepCase": "b",
    }
    assert found.template_arguments == expected
    assert {name: type(value) for name, value in found.template_arguments.items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert found.model_dump(by_alias=True)["templateArguments"] == expected
    assert parse_experiment(SHORT).spec.policy.prompt.template_arguments == {}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("templateArguments: {tokenize: true}", "templateArguments: Misstep sets tokenize itself"),
        ("templateArguments: {a: 1, messages: none}", "templateArguments: Misstep sets messages itself"),
        ("templateArguments: {add_generation_prompt: false}", "Misstep sets add_generation_prompt itself"),
        ("templateArguments: {a: [1]}", "templateArguments.a: [1]. Write true or false, a whole number, or text"),
        ("templateArguments: {a: 0.5}", "templateArguments.a: 0.5. Write true or false, a whole number, or text"),
        ("templateArguments: {a: {b: c}}", "spec.policy.prompt.templateArguments.a: "),
        ("templateArguments: {a: null}", "spec.policy.prompt.templateArguments.a: "),
        ("templateArguments: [a]", "spec.policy.prompt.templateArguments"),
    ],
)
def test_wrong_template_arguments_are_refused(fields: str, said: str) -> None:
    assert said in complaint(with_prompt(fields))


def test_all_wrong_fields_are_named_at_once() -> None:
    text = complaint(with_spec("credit: {rollout: 5}\nseeds: []"))
    assert "2 wrong fields" in text and "spec.credit.rollout" in text and "spec.seeds" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "the YAML: line 1, column 5: while parsing a flow node, expected the node content"),
        ("", "0 YAML documents"),
        ("- 1", "exactly one Experiment"),
        (SHORT + "---" + SHORT, "2 YAML documents"),
        (SHORT.replace("name: short", "name: short\n  name: twice"), "is repeated"),
        (SHORT.replace("name: short", "name: Short_Name"), "metadata.name"),
        (SHORT.replace("v1alpha1", "v2"), "apiVersion"),
        (SHORT.replace("path: data/gsm8k", "hub: openai/gsm8k"), "needs revision"),
        (SHORT.replace("[1000, 2000, 4000]", "[2000, 1000]"), "rising order"),
        (SHORT.replace("path: data/gsm8k", "path: all.jsonl"), "spec.problems: train.path is one file and test is not"),
        (
            SHORT.replace("path: data/gsm8k", "path: a.parquet, limit: 9000"),
            "the test problems too: give separate test problems",
        ),
        (SHORT.replace("path: data/gsm8k", "path: d, split: test"), "train and test are the same problems"),
        (with_test("path: d", "path: d, split: train"), "train and test are the same problems"),
        (with_test("path: a.jsonl, split: x", "path: a.jsonl"), "train and test are the same problems"),
        (SHORT.replace("path: data/gsm8k", "path: x, limit: 50"), "above problems.train.limit, 50"),
    ],
)
def test_a_wrong_file_says_why(text: str, said: str) -> None:
    assert said in complaint(text)


@pytest.mark.parametrize(
    "text",
    [
        with_test("path: a.jsonl", "path: b.jsonl"),
        with_test("path: a.jsonl", "path: a.jsonl, limit: 100"),
        with_test("path: d, split: test", "path: d, split: train"),
        SHORT.replace("path: data/gsm8k", "path: d, split: learn"),
        SHORT.replace(", path: data/gsm8k", ""),
    ],
)
def test_training_and_test_problems_may_lie_side_by_side(text: str) -> None:
    assert parse_experiment(text).spec.problems.train.format == "gsm8k"


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load_experiment(tmp_path / "none.yaml")


def test_local_paths_are_meant_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "exp.yaml").write_text(SHORT)
    spec = load_experiment(tmp_path / "exp.yaml").spec
    assert spec.problems.train.path == str(tmp_path / "data/gsm8k")
    assert spec.policy.model.path == str(tmp_path / "models/base")


@given(st.floats(min_value=0, max_value=1e30, allow_nan=False))
def test_numbers_survive_being_written(number: float) -> None:
    spec = parse_experiment(with_spec(f"training: {{dpo: {{beta: {number_text(number)}}}}}")).spec
    assert spec.training.dpo.beta == number


@given(st.text(max_size=400))
def test_no_text_brings_anything_but_bad_input(text: str) -> None:
    with pytest.raises(BadInput):
        parse_experiment(text)


URL = "url: 'http://localhost:8000/v1', model: m"


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("{kind: endpoint}", "kind endpoint needs endpoint"),
        ("{kind: model}", "kind model needs model"),
        (f"{{endpoint: {{{URL}}}}}", "endpoint belongs to kind endpoint, and kind is dataset"),
        ("{kind: endpoint, endpoint: {url: localhost, model: m}}", "spec.teacher.endpoint.url"),
        ("{kind: endpoint, endpoint: {url: 'http://key@host/v1', model: m}}", "spec.teacher.endpoint.url"),
        ("{kind: endpoint, endpoint: {url: 'http://h/v1/chat/completions', model: m}}", "leave out /chat/completions"),
        (f"{{kind: endpoint, endpoint: {{{URL}, budget: {{maxCost: 5}}}}}}", "maxCost needs pricePerMillionInput"),
        (f"{{kind: endpoint, endpoint: {{{URL}, budget: {{pricePerMillionInput: 5}}}}}}", "belong together"),
        (f"{{kind: endpoint, endpoint: {{{URL}, apiKeyEnv: sk-secret}}}}", "spec.teacher.endpoint.apiKeyEnv"),
        (f"{{kind: endpoint, temperature: 0, endpoint: {{{URL}}}}}", "set solutions to 1"),
        (f"{{kind: endpoint, temperature: 0, solutions: 1, newProblemsPerSeed: 2, endpoint: {{{URL}}}}}", "the same"),
        ("{kind: model, model: {model: {path: x, name: model}}}", "rename one of them"),
    ],
)
def test_teachers_that_cannot_work_are_named(teacher: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_experiment(SHORT + f"  teacher: {teacher}\n")
    assert said in str(error.value)


def test_a_teacher_may_write_more_problems_than_there_are_seeds() -> None:
    few = SHORT.replace("path: data/gsm8k", "path: x, limit: 50")
    written = parse_experiment(few + f"  teacher: {{kind: endpoint, newProblemsPerSeed: 80, endpoint: {{{URL}}}}}\n")
    assert written.spec.teacher.writes and written.spec.problems.sizes[-1] > 50
    with pytest.raises(BadInput, match="above the 50 problems that a teacher can write or solve"):
        parse_experiment(few + f"  teacher: {{kind: endpoint, endpoint: {{{URL}}}}}\n")


def test_nobody_knows_the_first_errors_in_problems_that_a_teacher_writes() -> None:
    generated = SHORT.replace("{format: gsm8k, path: data/gsm8k}", "{format: strides, limit: 9000}")
    generated = generated.replace("    sizes:", "    test: {format: strides, limit: 100}\n    sizes:")
    text = generated + "  arms: [{name: a, method: sft}, {name: b, method: dpo, pairs: oracle-pit}]\n"
    assert parse_experiment(text).spec.arms[1].pairs == "oracle-pit"
    solving = text + f"  teacher: {{kind: endpoint, newProblemsPerSeed: 0, endpoint: {{{URL}}}}}\n"
    assert parse_experiment(solving).spec.teacher.writes
    with pytest.raises(BadInput, match="not known for problems that a teacher writes; set teacher"):
        parse_experiment(text + f"  teacher: {{kind: endpoint, endpoint: {{{URL}}}}}\n")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{}", "give exactly one of path, hub and uri"),
        ("{path: a, uri: 's3://b/c'}", "give exactly one of path, hub and uri"),
        ("{uri: 's3://b/c'}", "uri and digest belong together: misstep upload prints both"),
        ("{uri: 's3://b/c', digest: 'sha256:12'}", "spec.policy.model.digest: sha256:12."),
        ("{uri: 's3://bucket', digest: 'sha256:12'}", "spec.policy.model.uri: s3://bucket."),
    ],
)
def test_a_model_has_one_origin(model: str, said: str) -> None:
    assert said in complaint(SHORT.replace("{path: models/base}", model))


@pytest.mark.parametrize("kind", ["sft", "inspect"])
def test_settings_of_a_kinds_pods_stand_over_the_common_ones(kind: str) -> None:
    text = f"cluster: {{defaults: {{priorityClass: low, labels: {{a: b}}}}, {kind}: {{priorityClass: high}}}}"
    cluster = parse_experiment(with_spec(text)).spec.cluster
    assert cluster.pods(kind).priority_class == "high" and cluster.pods(kind).labels == {"a": "b"}
    assert cluster.pods("score").priority_class == "low"
    assert cluster.pods("dpo").priority_class == "low"
    beneath = PodSettings(priority_class="lowest", runtime_class="nvidia", labels={"c": "d"})
    assert cluster.pods("sft", beneath) == cluster.pods("sft").model_copy(update={"runtime_class": "nvidia"})
