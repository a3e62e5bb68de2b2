"""A real Prometheus that scrapes a test's processes, and the queries of the chart's dashboards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from misstep.processes import free_port
from tests.chart.rendering import CHART, objects
from tests.eventually import eventually

INTERVAL = "500ms"
VARIABLES = {"$namespace": ".*", "$experiment": ".*", "$__rate_interval": "1m", "$__range": "1h"}
"""What Grafana puts in: all namespaces and Experiments, and durations that suit a test."""


@dataclass(frozen=True)
class Query:
    """One query of a dashboard."""

    dashboard: str
    panel: str
    expression: str
    """With Grafana's variables replaced."""


def dashboard_queries() -> list[Query]:
    """Everything that the chart's dashboards ask."""
    found = []
    for file in sorted(CHART.glob("dashboards/*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expression = re.sub(r"\$\w+", lambda variable: VARIABLES[variable[0]], target["expr"])
                found.append(Query(file.stem, panel["title"], expression))
    return found


def stage_relabelings() -> list[dict[str, Any]]:
    """What the chart's PodMonitor has Prometheus make of a pod's labels, as Prometheus itself writes it."""
    values = {"metrics": {"stages": {"podMonitor": {"enabled": True}}}}
    (monitor,) = [each for each in objects(values) if each["kind"] == "PodMonitor"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names[name]: value for name, value in rule.items()} for rule in endpoint["relabelings"]]


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    address: str

    def _ask(self, path: str, **arguments: object) -> Any:
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def over(self, expression: str, begin: float, end: float) -> list[tuple[dict[str, str], list[float]]]:
        """Each series of an answer, by its labels, with its values from ``begin`` to ``end`` (seconds since the epoch);
        NaN, which Grafana does not draw, is left out, and so is a series that has nothing else."""
        answer = self._ask("query_range", query=expression, start=begin, end=end, step=max(1.0, (end - begin) / 2000))
        series = [
            (each["metric"], [float(value) for _, value in each["values"] if value != "NaN"])
            for each in answer["result"]
        ]
        return [(labels, values) for labels, values in series if values]

    def now(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Each series of an answer at this moment, by its labels."""
        answer = self._ask("query", query=expression)
        return [(each["metric"], float(each["value"][1])) for each in answer["result"]]

    def without_data(self, begin: float, end: float, queries: Sequence[Query] | None = None) -> list[Query]:
        """Those of the dashboards' queries that have nothing to show from ``begin`` to ``end``."""
        asked = dashboard_queries() if queries is None else queries
        return [query for query in asked if not self.over(query.expression, begin, end)]


@contextmanager
def prometheus(folder: Path, scrape: Sequence[Mapping[str, Any]]) -> Iterator[Prometheus]:
    """Run Prometheus in a folder of its own for the block, with the chart's alerts; skip the test where there is none.

    Args:
        scrape: its ``scrape_configs``.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": "1s"}
    config = {"global": seconds, "rule_files": [str(CHART / "files/alerts.yaml")], "scrape_configs": list(scrape)}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://{address}")
        _await_ready(found, process, folder / "prometheus.log")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _await_ready(found: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{found.address}/-/ready", timeout=5).close()
        except OSError:
            return False
        return True

    eventually(is_ready, 30, log.read_text)
