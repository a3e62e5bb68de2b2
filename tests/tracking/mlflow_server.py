"""A real MLflow server, from the package index, in an environment of its own: its libraries contradict ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.eventually import eventually

ENVIRONMENT = Path(__file__).parents[2] / ".cache" / "mlflow"
_UV = [sys.executable, "-m", "uv"]


def program() -> Path:
    """Return the ``mlflow`` command of the client's version; install it where it is not there.

    Raises:
        subprocess.CalledProcessError: no package index is reached.
    """
    wanted = version("mlflow-skinny")
    folder = ENVIRONMENT / wanted
    found = folder / "bin" / "mlflow"
    if not found.exists():
        ENVIRONMENT.mkdir(parents=True, exist_ok=True)
        subprocess.run([*_UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run(
            [*_UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, f"mlflow=={wanted}"],
            check=True,
        )
    return found


class MlflowServer:
    """A server that can be killed and started again, with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        line = [
            *(str(program()), "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"),
            *("--artifacts-destination", str(self._folder / "artifacts")),
        ]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("PYTHONPATH", None)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                line, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._answers, 300, lambda: (self._folder / "log").read_text()[-3000:], every=0.5)

    def kill(self) -> None:
        """Kill it with all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask the REST API: a POST with a body, a GET without."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Return an experiment's runs as the server describes them, with ``points`` of all their metrics added."""
        found = self.ask(f"experiments/get-by-name?experiment_name={experiment}")["experiment"]
        runs = self.ask("runs/search", experiment_ids=[found["experiment_id"]], max_results=100).get("runs", [])
        for run in runs:
            identity = run["info"]["run_id"]
            run["tags"] = {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())}
            run["params"] = {param["key"]: param["value"] for param in run["data"].get("params", ())}
            run["points"] = {
                metric["key"]: [
                    (int(point.get("step", 0)), point["value"])
                    for point in self.ask(
                        f"metrics/get-history?run_id={identity}&metric_key={metric['key']}&max_results=10000"
                    )["metrics"]
                ]
                for metric in run["data"].get("metrics", ())
            }
            listed = self.ask(f"artifacts/list?run_id={identity}").get("files", ())
            run["files"] = sorted(file["path"] for file in listed)
        return list(runs)
