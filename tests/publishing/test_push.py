"""`misstep push` by the real client against a server that behaves like the Hub; what was pushed is fetched and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from misstep.publishing.data_card import COLUMNS
from misstep.publishing.rows import SCHEMAS
from tests.cli.running import Run
from tests.publishing.made import QUESTION, RIGHT, WRONG, Made
from tests.publishing.writable_hub import Hub
from tests.stages.hub_server import GOOD, OTHER
from tests.stages.hub_server import WRONG as UNKNOWN
from tests.store.servers import free_port

MODEL = ("--arm", "dpo-step", "--to", "org/step")


@pytest.mark.slow  # it loads transformers in a process of its own
def test_what_was_pushed_is_fetched_and_used_as_its_card_says(push: Run, hub: Hub, tmp_path: Path) -> None:
    code, out, err = push(*MODEL, "--license", "mit")
    assert (code, "/org/step/commit/" in out) == (0, True), err
    assert "a new private model repository org/step" in err
    assert push("--data", "pairs", "--arm", "dpo-step", "--to", "org/pairs")[0] == 0
    card = hub.repositories["model", "org/step"].files["README.md"].decode()
    use = card.split("```python\n")[1].split("```")[0].replace('"..."', repr(QUESTION))
    load = "from datasets import load_dataset\nprint(load_dataset('org/pairs', split='train')[0]['rejected'])"
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
    }
    used = subprocess.run(
        [sys.executable, "-c", f"{use}\n{load}"], env=environment, capture_output=True, text=True, check=False
    )
    assert used.returncode == 0, used.stderr
    assert "#### " in used.stdout
    assert used.stdout.endswith("2a 19\n\n")


def test_the_same_again_replaces_what_misstep_wrote_and_keeps_the_rest(push: Run, hub: Hub) -> None:
    assert push(*MODEL)[0] == 0
    repository = hub.put("model", "org/step", {"notes.txt": b"mine"})
    listed = json.loads(repository.files["misstep/files.json"])
    listed["files"]["model-00001-of-00002.safetensors"] = {"size": 1, "sha256": "0" * 64}
    hub.put("model", "org/step", {"misstep/files.json": json.dumps(listed).encode()})
    assert push(*MODEL)[0] == 0
    assert repository.files["notes.txt"] == b"mine"
    hub.put("model", "org/step", {"README.md": b"---\nlicense: mit\n---\nmy own words"})
    code, _, err = push(*MODEL)
    assert code == 64
    assert "changed there after Misstep wrote them: README.md" in err
    assert repository.files["README.md"].endswith(b"my own words")
    assert push(*MODEL, "--force")[0] == 0
    assert b"my own words" not in repository.files["README.md"]


def test_what_others_wrote_is_replaced_only_by_force_and_then_wholly(push: Run, hub: Hub) -> None:
    old = hub.put("model", "org/step", {"model-00001-of-00001.safetensors": b"other", "config.json": b"{}"})
    code, _, err = push(*MODEL)
    assert code == 64
    assert "holds files that Misstep did not write: config.json, model-00001-of-00001.safetensors" in err
    assert old.files["config.json"] == b"{}"
    code, _, err = push(*MODEL, "--force")
    assert code == 0
    assert "removed there: model-00001-of-00001.safetensors" in err
    assert "model-00001-of-00001.safetensors" not in old.files
    code, _, err = push("--arm", "sft", "--size", "60", "--to", "org/step")
    assert "holds something else: model of small, dpo-step, 60 problems, seed 0" in err


@pytest.mark.parametrize(
    ("options", "token", "fails", "code", "says"),
    [
        (MODEL, None, {}, 64, "No token is given: export HF_TOKEN=..."),
        (MODEL, UNKNOWN, {}, 64, "does not know the token given"),
        (MODEL, OTHER, {}, 64, "may not write there: give it permission to write to org"),
        (("--arm", "dpo-step", "--to", "elsewhere/step"), GOOD, {}, 64, "permission to write to elsewhere"),
        (MODEL, GOOD, {"POST api/repos/create": 404}, 64, "no such account or organisation"),
        (MODEL, GOOD, {"/commit/": 412}, 64, "changed while this ran"),
        (MODEL, GOOD, {"/commit/": 500}, 1, "the Hub answered 500. Running again may help"),
        ((*MODEL, "--license", "nonsense"), GOOD, {}, 64, '"license" must be one of the known ones'),
        (("--arm", "dpo-step", "--to", "no/such/name"), GOOD, {}, 64, "Write ORG/NAME"),
    ],
)
def test_refusals_say_what_to_do(push: Run, hub: Hub, monkeypatch, options, token, fails, code, says) -> None:
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.utils._auth._get_token_from_file", lambda: None)
    hub.fails = fails
    got, _, err = push(*options)
    assert (got, says in err) == (code, True), err
    assert "Traceback" not in err
    if says.startswith('"license"'):
        assert hub.repositories == {}


def test_without_a_network_it_says_so(push: Run, hub: Hub, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    code, _, err = push(*MODEL)
    assert (code, "Running again may help" in err) == (1, True), err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--arm", "dpo-step", "--seed", "1"), "stage: dpo-step-d60-s1. It is not finished. Go on with `misstep run"),
        (("--arm", "dpo-stp"), "Did you mean dpo-step?"),
        ((), "Say which model. The arms are sft, dpo-step, dpo-random."),
        (("--arm", "dpo-step", "--size", "50"), "--arm dpo-step has 30, 60."),
        (("--arm", "sft", "--data", "pairs"), "It has no pairs. Arms that have: dpo-step, dpo-random."),
        (("--data", "pairs"), "Its arms have different pairs. Name one of dpo-step, dpo-random."),
        (("--data", "rows"), "Write one of pairs, credit, samples."),
    ],
)
def test_what_is_not_there_is_named(push: Run, options, says) -> None:
    code, _, err = push(*options, "--dry-run")
    assert (code, says in err) == (64, True), err


def test_a_file_that_has_changed_since_the_run_is_refused(run: Run, made: Made, tmp_path: Path) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(made.file.read_text().replace("loraRank: 4", "loraRank: 8"))
    work = made.folder / ".misstep" / "small"
    code, _, err = run("push", changed, "--work", work, "--arm", "dpo-step", "--dry-run")
    assert (code, "It has changed since the experiment ran" in err) == (64, True), err
    assert run("push", changed, "--work", work, "--arm", "sft", "--dry-run", "--out", tmp_path / "sft")[0] == 0


def test_the_data_sets_hold_what_their_cards_say(push: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    rows = {}
    for what, schema in SCHEMAS.items():
        out = tmp_path / what.value
        code, _, err = push("--data", what.value, "--arm", "dpo-step", "--dry-run", "--out", out)
        assert code == 0, err
        assert [name for name, _ in COLUMNS[what]] == schema.names
        rows[what.value] = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")).to_list()
    first = WRONG.splitlines(keepends=True)
    assert [row["rejected"] for row in rows["pairs"]] == [first[1]]
    assert rows["pairs"][0]["prompt"] + rows["pairs"][0]["chosen"] == f"{QUESTION}\n{RIGHT}"
    wrong, right = rows["credit"]
    assert (wrong["completions"], wrong["labels"], wrong["values"]) == (["1a 31", "2a 19"], [True, False], [0.5, 0.0])
    assert (right["correct"], right["labels"], right["values"]) == (True, [True] * 5, [None] * 5)
    assert [(row["completion"], row["label"]) for row in rows["samples"]] == [(RIGHT, True), (WRONG, False)]
    card = (tmp_path / "samples" / "README.md").read_text()
    assert "| cut off at the token limit | 1 |" in card
    assert "| unparsable | 1 |" in card
