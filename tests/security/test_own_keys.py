"""Someone who may create Experiments in a cluster makes a viewer's keys sign requests to the attacker's server.

The server sees requests that those keys sign: it learns their name, can pass them on, and serves what it likes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from misstep.cli.app import main
from misstep.plan import configmap
from misstep.runner.workdir import Workdir
from misstep.store.description import Storage
from tests.cli.test_cluster import Kubectl, Run, kubectl, run
from tests.operator.world import PLAN

__all__ = ["kubectl", "run"]

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class Server:
    """Keeps who asked it, and has nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers.get("Authorization", ""))
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in (*ENDPOINTS, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVICTIM")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def plant(kubectl: Kubectl, storage: Storage) -> None:
    """Have a finished Experiment whose plan names that storage."""
    stages = tuple(stage.model_copy(update={"storage": storage}) for stage in PLAN.stages)
    packed = configmap.pack(PLAN.model_copy(update={"stages": stages}))
    kubectl.has(state="Succeeded", planDigest=configmap.digest(packed))
    kubectl.answers("get", "configmap", out=json.dumps({"binaryData": packed}))


def theirs(server: Server) -> Storage:
    return Storage(uri="s3://bucket/prefix", endpoint=server.url, region="us-east-1", path_style=True)


COMMANDS = pytest.mark.parametrize("command", ["report", "audit credit", "audit verdicts"])


@COMMANDS
@pytest.mark.parametrize("other", [None, *ENDPOINTS])
def test_a_plan_sends_the_callers_keys_to_its_own_server(
    kubectl: Kubectl, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, other: str | None, command: str
) -> None:
    if other is not None:
        monkeypatch.setenv(other, "https://s3.example.com")
    plant(kubectl, theirs(server))
    code, _, err = run(*command.split(), "small")
    assert code == 64
    assert err.startswith(f"error: endpoint of the plan: {server.url}. ")
    assert "requests that your keys sign would be sent there" in err
    assert f"misstep {command} small --namespace research --endpoint {server.url}." in err
    assert ("yours is https://s3.example.com" in err) is (other is not None)
    assert server.asked == []


@COMMANDS
@pytest.mark.parametrize("how", ["option", *ENDPOINTS])
def test_a_server_that_the_caller_names_is_asked(
    kubectl: Kubectl, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, how: str, command: str
) -> None:
    plant(kubectl, theirs(server))
    if how != "option":
        monkeypatch.setenv(how, f"{server.url}/")
    _, _, err = run(*command.split(), "small", *(["--endpoint", server.url] if how == "option" else []))
    assert "would be sent there" not in err
    assert server.asked and "AKIAVICTIM" in server.asked[0]


def test_the_option_counts_and_not_what_the_plan_names(kubectl: Kubectl, run: Run, server: Server) -> None:
    """Say, a tunnel to a server whose name only the cluster knows."""
    plant(kubectl, theirs(server).model_copy(update={"endpoint": "http://store.victim.svc:7070"}))
    run("report", "small", "--endpoint", server.url)
    assert server.asked


def test_the_command_to_copy_runs_nothing_else(kubectl: Kubectl, run: Run, server: Server) -> None:
    plant(kubectl, theirs(server).model_copy(update={"endpoint": "http://x;touch /tmp/pwned"}))
    _, _, err = run("report", "small")
    assert "--endpoint 'http://x;touch /tmp/pwned'" in err


def test_a_plan_names_a_file_of_the_callers_disk(
    kubectl: Kubectl, run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the authorities to trust, or as the store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    plant(kubectl, theirs(server).model_copy(update={"ca_bundle": str(tmp_path / "not-there.pem")}))
    _, _, err = run("report", "small")
    assert "not-there.pem" not in err
    assert server.asked
    code, _, err = run("report", "small", "--ca-bundle", "none.pem")
    assert (code, err) == (
        64,
        "error: --ca-bundle: none.pem. There is no such file: name a PEM file of this machine.\n",
    )


def test_a_plan_names_a_folder_of_the_callers_disk(kubectl: Kubectl, run: Run, tmp_path: Path) -> None:
    plant(kubectl, Storage(uri=tmp_path.as_uri()))
    code, _, err = run("report", "small")
    assert code == 64
    assert "A cluster's store is s3://BUCKET/PREFIX: nothing is read." in err


def test_options_of_a_cluster_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No attack: an option that would do nothing is refused."""
    workdir = Workdir(tmp_path / "work")
    workdir.create()
    storage = Storage(uri=(tmp_path / "store").as_uri())
    stages = tuple(stage.model_copy(update={"storage": storage}) for stage in PLAN.stages)
    workdir.write_plan(PLAN.model_copy(update={"stages": stages}))
    here = ["report", "small", "--work", str(workdir.root)]
    assert main([*here, "--endpoint", "http://x"]) == 64
    assert "--endpoint: http://x. Use it with --namespace" in capsys.readouterr().err
    assert main(here) == 64
    assert "It has no report yet" in capsys.readouterr().err
