"""External data and models are found and digested, or refused with the fix."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.planner import plan
from misstep.sources import architecture, resolve
from misstep.spec import Experiment, load_experiment
from misstep.store.description import Storage

NOWHERE = Storage(uri="file:///nowhere")
PINNED = "hub: openai/gsm8k, revision: " + "a" * 40


def experiment(folder: Path, train: str = "format: gsm8k, path: data", model: str = "path: model") -> Experiment:
    (folder / "e.yaml").write_text(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  problems:
    train: {{{train}}}
    sizes: [1]
  policy: {{model: {{{model}}}}}
""")
    return load_experiment(folder / "e.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text('{"question": "?", "answer": "#### 1"}\n')
    (tmp_path / "data/test.jsonl").write_text('{"question": "!", "answer": "#### 2"}\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return tmp_path


def test_the_same_content_has_the_same_digest_wherever_it_lies(folder: Path) -> None:
    before = resolve(experiment(folder))
    shutil.copytree(folder / "data", folder / "copy")
    after = resolve(experiment(folder), data={"gsm8k": str(folder / "copy")})
    assert {r: e.digest for r, e in before.items()} == {r: e.digest for r, e in after.items()}
    assert before["source_train"].uri != after["source_train"].uri
    (folder / "copy/train.jsonl").write_text("{}\n")
    changed = resolve(experiment(folder), data={"gsm8k": str(folder / "copy")})
    assert changed["source_train"].digest != before["source_train"].digest
    assert changed["source_test"].digest == before["source_test"].digest


def test_the_hub_enters_by_its_pinned_revision(folder: Path) -> None:
    found = resolve(experiment(folder, f"format: gsm8k, {PINNED}, config: main"))
    assert found["source_train"].uri == f"hf://datasets/openai/gsm8k@{'a' * 40}#main/train"
    assert found["source_test"].digest.endswith("#main/test")


@pytest.mark.parametrize(
    ("train", "model", "options", "said"),
    [
        ("format: gsm8k, path: nowhere", "path: model", {}, "There is nothing at this path"),
        ("format: gsm8k", "path: model", {}, "run with --data gsm8k=FOLDER"),
        ("format: gsm8k, path: model", "path: model", {}, "no train.jsonl, train.parquet"),
        ("format: gsm8k, path: data", "path: data", {}, "it has no config.json"),
        ("format: gsm8k, path: data", "path: none", {}, "--model model=FOLDER"),
        ("format: gsm8k, path: data", "path: model", {"data": {"math": "x"}}, "The experiment has: gsm8k."),
        ("format: gsm8k, path: data", "path: model", {"models": {"llama": "x"}}, "The experiment has: model."),
    ],
)
def test_what_is_missing_is_named(
    folder: Path, train: str, model: str, options: dict[str, dict[str, str]], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        resolve(experiment(folder, train, model), **options)
    assert said in str(caught.value)


def test_a_folder_with_a_split_in_parts_or_under_another_name_says_what_to_do(folder: Path) -> None:
    (folder / "data/train.jsonl").rename(folder / "data/train-00000-of-00002.jsonl")
    (folder / "data/train-00001-of-00002.jsonl").write_text('{"question": "??", "answer": "#### 3"}\n')
    (folder / "data/train_1M-00000-of-00001.jsonl").write_text("{}")
    with pytest.raises(BadInput) as caught:
        resolve(experiment(folder))
    said = str(caught.value)
    subprocess.run(["bash", "-ec", said[said.index("mkdir ") :]], check=True, timeout=60)
    found = resolve(experiment(folder))
    assert found["source_train"].uri == str(folder / "data/train")
    assert len(list((folder / "data/train").iterdir())) == 2
    shutil.rmtree(folder / "data/train")
    (folder / "data/deepscaler.json").write_text("{}")
    with pytest.raises(BadInput, match=r"It has deepscaler\.json, test\.jsonl, .*name one in path"):
        resolve(experiment(folder))


def test_a_file_that_is_no_data_is_refused_before_anything_runs(folder: Path) -> None:
    (folder / "data/train.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(BadInput, match=r"a Git LFS pointer, not the file itself\. .*lfs pull --include train\.jsonl"):
        resolve(experiment(folder))
    (folder / "data/train.jsonl").write_text('[{"question": "?", "answer": "#### 1"}]')
    with pytest.raises(BadInput, match="one JSON array"):
        resolve(experiment(folder))


def test_one_set_of_problems_for_training_and_test_is_refused_wherever_it_comes_from(folder: Path) -> None:
    file = str(folder / "data/train.jsonl")
    hub = f"format: gsm8k, {PINNED}"
    with pytest.raises(
        BadInput, match=r"spec\.problems\.test: not given\. .*train\.jsonl\): give separate test problems"
    ):
        resolve(experiment(folder), data={"gsm8k": file})
    (folder / "data/test.jsonl").write_text((folder / "data/train.jsonl").read_text())
    with pytest.raises(BadInput, match="Training takes the same problems"):
        resolve(experiment(folder))
    both = experiment(folder, f"{hub}}}\n    test: {{{hub}, name: other, split: test")
    with pytest.raises(BadInput, match="Training takes the same problems"):
        resolve(both, data={"gsm8k": file, "other": file})
    limited = experiment(folder, f"{hub}}}\n    test: {{{hub}, limit: 1")
    found = resolve(limited, data={"gsm8k": file})
    assert found["source_train"] == found["source_test"]


def test_the_models_shape_comes_from_its_folder_or_is_known_of_the_hub(folder: Path) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (folder / "model/config.json").write_text(json.dumps({**shape, "vocab_size": 10, "model_type": "llama"}))
    found = architecture(resolve(experiment(folder))["model"], NOWHERE)
    assert found is not None
    assert (found.name, found.hidden, found.counted) == ("model", 8, "exact")
    hub = experiment(folder, model=f"hub: Qwen/Qwen2.5-Math-1.5B, revision: {'a' * 40}")
    known = architecture(resolve(hub)["model"], NOWHERE)
    assert known is not None
    assert known.layers == 28
    unknown = experiment(folder, model=f"hub: new/model, revision: {'a' * 40}")
    assert architecture(resolve(unknown)["model"], NOWHERE) is None
    (folder / "model/config.json").write_text("[")
    assert architecture(resolve(experiment(folder))["model"], NOWHERE) is None


def test_a_missing_commit_is_refused_with_the_command_that_prints_it(folder: Path) -> None:
    for train, model, command in (
        ("format: gsm8k, path: data", "hub: a/b", "git ls-remote https://huggingface.co/a/b HEAD"),
        ("format: gsm8k, hub: a/b", "path: model", "git ls-remote https://huggingface.co/datasets/a/b HEAD"),
    ):
        with pytest.raises(BadInput) as caught:
            experiment(folder, train, model)
        assert command in str(caught.value)


def test_generated_problems_need_nothing_from_outside(folder: Path) -> None:
    made = experiment(folder, "format: strides, limit: 5}\n    test: {format: strides, limit: 2")
    assert set(resolve(made)) == {"model"}


def test_a_teacher_that_runs_here_is_found_by_a_name_of_its_own(folder: Path) -> None:
    (folder / "big").mkdir()
    (folder / "big/config.json").write_text('{"a": 1}')
    experiment(folder)
    with (folder / "e.yaml").open("a") as file:
        file.write("  teacher: {kind: model, model: {model: {path: big}}}\n")
    taught = load_experiment(folder / "e.yaml")
    found = resolve(taught)
    assert found["model_teacher"].uri == str(folder / "big") and found["model"].uri == str(folder / "model")
    moved = resolve(taught, models={"teacher": str(folder / "model")})
    assert moved["model_teacher"].digest == found["model"].digest
    with pytest.raises(BadInput, match="The experiment has: model, teacher"):
        resolve(taught, models={"student": str(folder / "model")})
    shutil.rmtree(folder / "big")
    with pytest.raises(BadInput, match=r"spec.teacher.model.model.path.*--model teacher=FOLDER"):
        resolve(taught)


def test_an_uploaded_copy_has_the_keys_of_the_local_folder(folder: Path) -> None:
    local = experiment(folder)
    found = resolve(local)

    def copy(role: str, name: str) -> str:
        return f"uri: 's3://bucket/{name}', digest: '{found[role].digest}'"

    train, model = f"format: gsm8k, {copy('source_train', 'train.jsonl')}", copy("model", "base")
    test = f"test: {{format: gsm8k, {copy('source_test', 'test.jsonl')}}}"
    with pytest.raises(BadInput, match=r"train\.uri is a copy of the training problems only: give test too"):
        experiment(folder, train, model)
    remote = experiment(folder, f"{train}}}\n    {test[:-1]}", model)
    assert resolve(remote)["model"] == External(uri="s3://bucket/base", digest=found["model"].digest)
    assert [s.key for s in plan(remote, resolve(remote)).stages] == [s.key for s in plan(local, found).stages]
    assert resolve(remote, models={"model": str(folder / "model")})["model"].uri == str(folder / "model")


def test_settings_of_a_cluster_enter_no_key(folder: Path) -> None:
    plain = experiment(folder)
    with (folder / "e.yaml").open("a") as file:
        file.write("""
  suspend: true
  cluster:
    retries: 1
    defaults: {nodeSelector: {pool: gpu}, tolerations: [{key: gpu, operator: Exists}], env: [{name: A, value: b}]}
    sft: {priorityClass: high, sharedMemory: 8Gi, deadlineSeconds: 60}
""")
    placed = load_experiment(folder / "e.yaml")
    assert plan(placed, resolve(placed)) == plan(plain, resolve(plain))


def test_the_shape_of_an_uploaded_model_is_read_from_its_store(folder: Path) -> None:
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    (folder / "model/config.json").write_text(json.dumps({**shape, "vocab_size": 10, "model_type": "llama"}))
    copy = External(uri=(folder / "model").as_uri(), digest="sha256:" + "a" * 64)
    found = architecture(copy, NOWHERE)
    assert found is not None
    assert (found.name, found.hidden) == ("model", 8)
    assert architecture(External(uri="file:///nowhere/model", digest=copy.digest), NOWHERE) is None
