"""Models of the Hub: the real client in a stage's real process, against a server that behaves like the Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from misstep.artifacts.manifest import Manifest, read_manifest
from misstep.plan.frozen import External
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.stages import making
from tests.stages.hub_server import COMMIT, GOOD, OTHER, WRONG, hub
from tests.store.servers import free_port

TOKEN_PIECES = [token[3:] for token in (GOOD, OTHER, WRONG)]


@dataclass
class Ran:
    code: int
    said: str
    error: str
    manifest: Manifest | None


@dataclass
class Node:
    folder: Path
    address: str
    asked: list[str]

    def run(self, repository: str, token: str | None = None, revision: str = COMMIT, **more: str) -> Ran:
        storage = Storage(uri=f"file://{self.folder}/store")
        external = External(uri=f"hf://{repository}@{revision}", digest=f"hub:{repository}@{revision}")
        stage = making.training(storage, external)
        error = self.folder / "error"
        error.unlink(missing_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": "services",
            "MISSTEP_SCRATCH": str(self.folder / "scratch"),
            "MISSTEP_CACHE": str(self.folder / "cache"),
            "MISSTEP_TERMINATION_LOG": str(error),
            "WORK_NOTES": str(self.folder / "notes"),
            "HF_ENDPOINT": self.address,
            **({"HF_TOKEN": token} if token else {}),
            **more,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.stages.hub_process", stage.model_dump_json()],
            cwd=Path(__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        self._no_token_in(said, stage.model_dump_json(), self.folder)
        manifest = read_manifest(open_store(storage), stage.key)
        return Ran(done.returncode, said, error.read_text() if error.exists() else "", manifest)

    @staticmethod
    def _no_token_in(said: str, frozen: str, folder: Path) -> None:
        files = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
        for piece in TOKEN_PIECES:
            assert not any(piece in text for text in (said, frozen, *files))

    def fetched(self) -> set[str]:
        """Files of the models' folders in the cache, and what weights they hold."""
        return {path.name for path in (self.folder / "cache" / "hub").glob("models--*/snapshots/*/**/*")}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with hub() as (address, asked):
        yield Node(tmp_path, address, asked)


def test_only_what_is_needed_is_fetched_and_only_once(node: Node) -> None:
    ran = node.run("org/tiny")
    assert (ran.code, ran.error) == (0, "")
    assert ran.manifest is not None
    assert ran.manifest.summary == {"start_bytes": 5}
    assert node.fetched() == {"config.json", "tokenizer.json", "model.safetensors"}
    asked = len(node.asked)
    (node.folder / "store").rename(node.folder / "old-store")
    assert node.run("org/tiny").code == 0
    assert not [path for path in node.asked[asked:] if "resolve" in path]


def test_pickled_weights_only_where_there_are_no_others(node: Node) -> None:
    node.run("org/pickled")
    assert node.fetched() == {"config.json", "tokenizer.json", "pytorch_model.bin"}


def test_a_gated_model_with_a_token_that_has_access(node: Node) -> None:
    ran = node.run("org/gated", GOOD)
    assert ran.code == 0
    assert ran.manifest is not None
    assert ran.manifest.externals == {"model": f"hub:org/gated@{COMMIT}"}


@pytest.mark.parametrize(
    ("repository", "token", "fixes"),
    [
        (
            "org/gated",
            None,
            ["gated and no token is given", "accept its licence at", "/org/gated with your account", "spec.secrets"],
        ),
        ("org/gated", OTHER, ["gated and the token given has no access", "accept its licence"]),
        ("org/private", None, ["no such model, or it is private", "HF_TOKEN", "spec.secrets"]),
        ("org/private", OTHER, ["no such model, or it is private", "a token that may read it"]),
        ("org/nothing", GOOD, ["no such model, or it is private: check the name"]),
        ("org/tiny", WRONG, ["does not know the token given", "HF_TOKEN"]),
        ("org/narrow", GOOD, ["The token given may not read it"]),
        ("no/such/name", None, ["Write org/name"]),
    ],
)
def test_refusals_say_what_to_do_and_are_not_tried_again(node: Node, repository, token, fixes) -> None:
    ran = node.run(repository, token)
    assert ran.code == 64
    assert ran.error.startswith(f"external model: hf://{repository}@{COMMIT}. ")
    for fix in fixes:
        assert fix.replace("/org", f"{node.address}/org") in ran.error
    assert "Traceback" not in ran.said


def test_a_commit_that_is_not_there(node: Node) -> None:
    ran = node.run("org/tiny", revision="b" * 40)
    assert ran.code == 64
    assert "no such revision" in ran.error


@pytest.mark.slow  # the client has patience of its own
def test_what_may_pass_is_worth_another_try(node: Node) -> None:
    ran = node.run("org/busy", HF_HUB_DOWNLOAD_TIMEOUT="5")
    assert (ran.code, "the Hub answered 503" in ran.error) == (1, True)
    node.address = f"http://127.0.0.1:{free_port()}"
    ran = node.run("org/tiny")
    assert (ran.code, "the Hub did not answer" in ran.error) == (1, True)
    assert "a local folder needs no Hub" in ran.error
    assert "Traceback" not in ran.said


def test_without_the_hub_what_is_kept_is_used(node: Node) -> None:
    assert node.run("org/tiny", HF_HUB_OFFLINE="1").code == 64
    assert node.run("org/tiny").code == 0
    (node.folder / "store").rename(node.folder / "old-store")
    assert node.run("org/tiny", HF_HUB_OFFLINE="1").code == 0
