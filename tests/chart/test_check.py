"""The script that `helm test` runs in a pod, as far as possible without a cluster; tests/cluster runs all of it in
one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.chart.rendering import CHECK

SERVICES = Path(__file__).parents[2] / "services"


class Healthy(BaseHTTPRequestHandler):
    """Answers everything with 200, and says nothing about it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def healthy() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/healthz"
    server.shutdown()
    thread.join()
    server.server_close()


def check(*todo: str) -> tuple[int, str]:
    """Run it as the pod does: the text as an argument."""
    command = [sys.executable, "-c", CHECK, *todo]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(SERVICES)}, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def storage(folder: Path) -> str:
    return json.dumps({"uri": folder.as_uri(), "path_style": True})


def test_all_well(healthy: str, tmp_path: Path) -> None:
    code, said = check("health", healthy, "read", storage(tmp_path), "write", storage(tmp_path))
    assert code == 0
    assert said.splitlines() == [
        f"the operator at {healthy} is alive",
        f"{tmp_path.as_uri()}: read works",
        f"{tmp_path.as_uri()}: write works, and what is there is not written over",
    ]


def test_the_first_thing_that_fails_ends_it_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = check("write", storage(tmp_path / "file"), "write", storage(tmp_path))
    assert code == 1
    assert len(said.splitlines()) == 1
    assert "cannot be written" in said


def test_what_it_does_not_know_is_no_success() -> None:
    assert check("wrte", "x") == (1, "unknown: ['wrte', 'x']\n")
