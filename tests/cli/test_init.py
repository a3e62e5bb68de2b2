"""``misstep init``: what it writes is valid, stays when it is run again, and is the example of the repository."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from misstep.api.opening import load, make_plan
from misstep.cli import starts
from misstep.plan import extras
from misstep.spec.load import read_document
from misstep.spec.schema import COMMENT, FILE, json_schema
from tests.cli.running import Run

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMIT = "4a83ca6e4526a4f2da3aa259ec36c259f66b2ab2"
MODEL = f"hf://Qwen/Qwen2.5-Math-1.5B@{COMMIT}"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_quickstart_is_the_example_with_the_same_keys(run: Run, tmp_path: Path) -> None:
    code, out, err = run("init", "quickstart")
    assert (code, err) == (0, "")
    assert names(tmp_path) == {"quickstart.yaml", "quickstart-base", FILE}
    assert out.startswith(f"wrote quickstart.yaml, {FILE}, quickstart-base/\n")
    assert out.endswith("\n  misstep run quickstart.yaml\n")
    made, example = (make_plan(load(folder / "quickstart.yaml")) for folder in (tmp_path, EXAMPLES))
    assert [stage.key for stage in made.stages] == [stage.key for stage in example.stages]


def test_its_comments_fit_where_it_is(run: Run, tmp_path: Path) -> None:
    run("init", "quickstart", "here/and there")
    text = (tmp_path / "here/and there/quickstart.yaml").read_text()
    assert "#   misstep run quickstart.yaml\n" in text
    assert "make demo" not in text
    assert f"{COMMENT}{FILE}\n" in text
    jsonschema.Draft202012Validator(json_schema()).validate(read_document(tmp_path / "here/and there/quickstart.yaml"))
    assert "misstep run 'here/and there/quickstart.yaml'" in run("init", "quickstart", "here/and there")[1]


def test_files_that_differ_stay_and_nothing_is_written_beside_them(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "quickstart.yaml"
    own.write_text("mine\n")
    code, _, err = run("init", "quickstart")
    assert code == 64
    assert "quickstart.yaml. It is there already, with other content." in err
    assert names(tmp_path) == {own.name}
    assert run("init", "quickstart", "--force")[0] == 0
    assert "apiVersion" in own.read_text()
    assert run("init", "quickstart")[0] == 0, "the same files again are no conflict"


def test_a_real_experiment_is_valid_and_keeps_the_comments(run: Run, tmp_path: Path) -> None:
    code, out, err = run("init", "gsm8k", "--model", MODEL)
    assert (code, err) == (0, "")
    file = tmp_path / "gsm8k.yaml"
    assert names(tmp_path) == {file.name, FILE}
    assert "misstep plan gsm8k.yaml" in out
    template = (Path(starts.__file__).parent / "gsm8k.yaml").read_text()
    assert file.read_text().count("#") == template.count("#")
    experiment = load(file)
    assert experiment.metadata.name == "gsm8k-qwen2-5-math-1-5b"
    assert (experiment.spec.policy.model.hub, experiment.spec.policy.model.revision) == (
        "Qwen/Qwen2.5-Math-1.5B",
        COMMIT,
    )
    jsonschema.Draft202012Validator(json_schema()).validate(read_document(file))
    assert run("validate", file)[0] == 0
    code, out, err = run("tune", file, "--plan-only")  # it fits the GPU that it names
    assert (code, err) == (0, "")
    assert "dpo-step" in out


def test_its_data_set_is_pinned_as_in_the_examples(run: Run, tmp_path: Path) -> None:
    run("init", "gsm8k", "--model", MODEL)
    ours, theirs = (
        load(file).spec.problems.train for file in (tmp_path / "gsm8k.yaml", EXAMPLES / "gsm8k-qwen2.5-math-1.5b.yaml")
    )
    assert ours == theirs


def test_a_model_in_a_folder_is_found_from_where_the_file_is(run: Run, tmp_path: Path) -> None:
    model = tmp_path / "models" / "My_Model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    code, _, err = run("init", "gsm8k", "deep/er", "--model", "models/My_Model", "--preset", "gsm8k-chat")
    assert (code, err) == (0, "")
    experiment = load(tmp_path / "deep/er/gsm8k.yaml")
    assert experiment.metadata.name == "gsm8k-my-model"
    assert experiment.spec.policy.model.path == str(model)
    assert experiment.spec.policy.prompt.preset == "gsm8k-chat"
    assert "../../models/My_Model" in (tmp_path / "deep/er/gsm8k.yaml").read_text()


def test_the_hub_says_the_commit_of_a_branch(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Hub:
        def model_info(self, repository: str, revision: str | None, timeout: float) -> SimpleNamespace:
            asked.append((repository, revision))
            return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    for model in ("hf://org/name", "hf://org/name@v2"):
        assert run("init", "gsm8k", "--model", model)[0] == 0
    assert asked == [("org/name", None), ("org/name", "v2")]
    assert load(tmp_path / "gsm8k.yaml").spec.policy.model.revision == COMMIT


@pytest.mark.parametrize("missing", [True, False], ids=["not installed", "no answer"])
def test_where_the_hub_cannot_say_it_the_way_to_find_it_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    class Hub:
        def model_info(self, repository: str, revision: str | None, timeout: float) -> SimpleNamespace:
            raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    if missing:
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    code, _, err = run("init", "gsm8k", "--model", "hf://org/name")
    assert code == 64
    assert ("without huggingface_hub" if missing else "(no network)") in err
    assert "git ls-remote https://huggingface.co/org/name HEAD prints it" in err
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["quikstart"], "NAME: quikstart. Did you mean quickstart?"),
        (["gsm8k"], "--model: not given. Write --model hf://ORG/NAME"),
        (["gsm8k", "--model", "hf://name"], "--model: hf://name. Write hf://ORG/NAME, or hf://ORG/NAME@COMMIT."),
        (["gsm8k", "--model", "org/name"], "it has no config.json. For a model on the Hub write hf://org/name."),
        (["gsm8k", "--model", MODEL, "--preset", "math-base"], "--preset: math-base. Write one of gsm8k-base"),
        (["quickstart", "--model", MODEL], "The quickstart has a model and a prompt of its own"),
        (["quickstart", "file/folder"], "FOLDER: file/folder. Not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_written_is_refused(run: Run, tmp_path: Path, argv: list[str], said: str) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("init", *argv)
    assert code == 64
    assert said in err
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("argv", [[], ["--list"]], ids=["without a name", "--list"])
def test_what_there_is_is_listed(run: Run, tmp_path: Path, argv: list[str]) -> None:
    code, out, _ = run("init", *argv)
    assert code == 0
    assert all(name in out for name in starts.STARTS)
    assert names(tmp_path) == set()


def test_what_is_not_installed_comes_first_among_the_next_commands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_is_there", lambda module: module != "trl")
    _, out, _ = run("init", "quickstart")
    steps = out[out.index("Next") :].splitlines()[1:]
    assert steps[0].strip().startswith('pip install "misstep[local]"')
    assert steps[1].strip() == "misstep run quickstart.yaml"
