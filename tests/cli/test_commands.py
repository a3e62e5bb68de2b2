"""Commands as a person types them, in this process; those that time or signal a real one are in test_process.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from misstep.artifacts.manifest import commit
from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.output import Output
from misstep.plan.kinds import StageKind
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.artifacts.making import finish_block, frozen
from tests.cli.running import Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.yaml"


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["artifacts"], ["verify"], ["credit"], ["audit", "credit"]],
    ids=lambda c: c[0] if c else "all",
)
def test_help_teaches(run: Run, command: list[str], snapshot: SnapshotAssertion) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "\n".join(line.rstrip() for line in out.splitlines()) == snapshot


def test_a_valid_experiment_is_called_so(run: Run) -> None:
    code, out, _ = run("validate", EXAMPLE)
    assert code == 0
    assert "quickstart is a valid Experiment (6 arms, 5 sizes" in out


def test_every_missing_secret_is_named_before_anything_starts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"    - {{env: {env}, secret: tokens, key: key}}\n" for env in ("SET_KEY", "HF_TOKEN", "TEACHER_KEY")]
    file = tmp_path / "with-secrets.yaml"
    base = EXAMPLE.parent / "quickstart-base"
    text = EXAMPLE.read_text().replace("path: quickstart-base", f"path: {base}")
    file.write_text(text.rstrip() + "\n  secrets:\n" + "".join(lines))
    monkeypatch.setenv("SET_KEY", "a value that nothing may print")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    code, out, err = run("run", file)
    assert code == 64
    assert err.startswith("error: spec.secrets[1].env: HF_TOKEN. ")
    assert "Also missing: TEACHER_KEY (spec.secrets[2].env)." in err
    assert "a value" not in out + err
    assert list(tmp_path.iterdir()) == [file]
    assert run("plan", file)[0] == 0  # planning needs none


def test_kept_models_are_listed_and_removed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(target: Path) -> None:
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"x" * 2048)

    monkeypatch.setenv("MISSTEP_CACHE", str(tmp_path / "cache"))
    assert f"0 models, 0 B, in {tmp_path}/cache" in run("artifacts", "cache", "ls")[1]
    cache = ModelCache(tmp_path / "cache")
    digest = "sha256:" + "0" * 64
    cache.folder(digest, 2048, fill)
    listed = run("artifacts", "cache", "ls")[1]
    assert digest in listed
    assert "yes" in listed
    assert "1 models, 2.0 KiB" in listed
    assert "removed 0 B" in run("artifacts", "cache", "clear")[1]
    cache.close()
    assert "removed 2.0 KiB" in run("artifacts", "cache", "clear")[1]
    assert "0 models" in run("artifacts", "cache", "ls")[1]


def test_a_bad_experiment_gets_one_paragraph_and_64(run: Run, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(EXAMPLE.read_text().replace("rollouts: 5", "rolouts: 5"))
    for command in ("validate", "plan", "run"):
        code, out, err = run(command, bad)
        assert (code, out) == (64, "")
        assert err.replace(str(tmp_path), "DIR") == snapshot(name="misspelt field")
    assert list(tmp_path.iterdir()) == [bad]  # nothing was written


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["validate", "missing.yaml"], "missing.yaml: No such file"),
        (["explain", "spec.credit.rolouts"], "Did you mean rollouts?"),
        (
            ["status", "quickstrat"],
            "No experiment has run here. `misstep run FILE` starts it. `misstep status`, `logs`",
        ),
        (["run", EXAMPLE, "--data", "gsm8k"], "--data: gsm8k. Write --data NAME=DIR"),
        (["run", EXAMPLE, "--model", "other=/tmp"], "--model other"),
        (["run", EXAMPLE, "--only", "sft-d25-s0"], "Did you mean sft-d"),
        (["plan", EXAMPLE, "--storage", "ftp://host"], "spec.storage.uri"),
        (["artifacts", "show", "nothing"], "No artifact's key begins with this"),
    ],
    ids=lambda value: " ".join(map(str, value[:2])) if isinstance(value, list) else "",
)
def test_wrong_input_is_named_and_exits_with_64(run: Run, argv: list[object], said: str) -> None:
    code, _, err = run(*argv)
    assert code == 64
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["valdate"], "Did you mean 'validate'?"),
        (["run", "x.yaml", "--keepgoing"], "--keep-going"),
        (["verify"], "FILE"),
    ],
)
def test_wrong_usage_suggests_and_exits_with_2(run: Run, argv: list[str], said: str) -> None:
    code, _, err = run(*argv)
    assert code == 2
    assert said in err


def test_a_defect_of_ours_is_one_line_unless_debugging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: str) -> str:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("misstep.spec.explain.explain", broken)
    code, _, err = run("explain", "spec")
    assert code == 1
    assert err.count("\n") == 1
    assert "unexpected ZeroDivisionError: deep inside" in err
    monkeypatch.setenv("MISSTEP_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("explain", "spec")


def test_a_library_of_an_extra_that_turns_out_to_be_missing_is_no_defect(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Callable[..., None]:
        def fail(*_: object, **__: object) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return fail

    monkeypatch.setattr("misstep.spec.explain.explain", missing("pyarrow.parquet"))
    code, _, err = run("explain")
    assert code == 64
    assert 'not installed: pyarrow.parquet. Install what it needs: pip install "misstep[records]".' in err
    monkeypatch.setattr("misstep.spec.explain.explain", missing("misstep.mistake"))
    code, _, err = run("explain")
    assert code == 1
    assert "This is a defect of Misstep" in err


def test_plan_shows_every_stage_in_each_form(run: Run) -> None:
    code, out, _ = run("plan", EXAMPLE, "--output", "json")
    stages = json.loads(out)["stages"]
    assert code == 0
    assert not any(stage["committed"] for stage in stages)
    _, table, _ = run("plan", EXAMPLE, "--stages")
    _, mermaid, _ = run("plan", EXAMPLE, "-o", "mermaid")
    for stage in stages:
        assert stage["key"] in table
        assert f'["{stage["name"]}"]' in mermaid
    assert f"{len(stages)} stages, 0 done" in table


def test_plan_groups_stages_and_explains_what_they_cost(run: Run) -> None:
    code, out, _ = run("plan", EXAMPLE, "--explain-cost")
    assert code == 0
    assert "18 x sample (test)" in out
    assert "144 stages, 0 done" in out
    assert "quickstart-base: N = 318,720 parameters (exact)" in out
    assert "AdamW = 8 B x N" in out
    cost = json.loads(run("plan", EXAMPLE, "-o", "json")[1])["cost"]
    assert cost["gpu_hours"] == 0 < cost["core_hours"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_cannot_fit_its_gpu_is_refused_before_anything_starts(run: Run, tmp_path: Path, command: str) -> None:
    text = EXAMPLE.read_text().replace("path: quickstart-base", f"path: {EXAMPLE.parent / 'quickstart-base'}")
    text = text.replace("default: {cpus: 1,", "default: {cpus: 1, gpus: 1, gpuMemory: 1Gi,")
    (tmp_path / "small-gpu.yaml").write_text(text)
    code, out, err = run(command, "small-gpu.yaml")
    assert (code, out) == (64, "")
    assert err.startswith("error: spec.resources.sft: stage sft-d125-s0 needs")
    assert not (tmp_path / ".misstep").exists()


def test_a_relative_store_is_meant_from_here(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("plan", EXAMPLE, "-o", "json", "--storage", "file://my store")
    uris = {stage["storage"]["uri"] for stage in json.loads(out)["stages"]}
    assert uris == {(tmp_path / "my store").as_uri()}
    assert open_store(Storage(uri=uris.pop())).uri


def test_verify_scores_a_file(run: Run, tmp_path: Path) -> None:
    rows = [{"out": "so it is\n#### 4", "gold": "4"}, {"out": "#### 5", "gold": "4"}, {"out": "no idea", "gold": "4"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run("verify", "in.jsonl", "--response", "out", "--gold", "gold", "--out", "out.jsonl")
    assert code == 0
    scored = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in scored] == ["correct", "wrong", "unparsable"]
    for verdict in ("correct", "wrong", "unparsable"):
        assert verdict in out
    code, _, err = run("verify", "in.jsonl", "--response", "nope", "--gold", "gold", "--out", "o.jsonl")
    assert code == 64
    assert "nope" in err


def test_version(run: Run) -> None:
    assert run("version")[1] == run("--version")[1]


def test_an_artifact_shows_the_rows_that_a_model_was_shown(run: Run, tmp_path: Path) -> None:
    storage = Storage(uri=(tmp_path / "store").as_uri())
    store, stage = open_store(storage), frozen(StageKind.SFT, {"made": "rows"}, storage)
    hostile = "2 + 2\n \x1b]0;title\x07\x9b31m \u202e [red]4[/red]"
    segments = [
        {"name": "prompt", "text": hostile, "tokens": 5, "loss": False},
        {"name": "response", "text": "4<eos>", "tokens": 2, "loss": True},
    ]
    summary = {"rows": 1, "shown": [{"row": 0, "tokens": 7, "segments": segments}]}
    finish_block(store, stage, 0, 1, Output(summary=summary), tmp_path)
    commit(store, stage, 1)
    code, out, err = run("artifacts", "show", stage.key, "--storage", storage.uri)
    assert code == 0
    assert json.loads(out)["summary"] == summary
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out + err)
    said = err.split("What the model was shown")[1]
    assert said == (
        "\n\nrow 0, 7 tokens\n--- prompt, 5 tokens, no loss\n"
        "2 + 2\n \ufffd]0;title\ufffd\ufffd31m \ufffd [red]4[/red]\n"
        "--- response, 2 tokens, loss\n4<eos>\n"
    )
