"""Every alert fires when it should and not before: promtool over the rules as the chart installs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import yaml
from prometheus_client import CollectorRegistry

from misstep import telemetry
from misstep_operator.api.kubernetes import KubernetesApi
from misstep_operator.controller.controller import Controller
from misstep_operator.controller.reconciler import Reconciler
from misstep_operator.metrics import Metrics
from misstep_operator.settings import Settings
from tests.chart.rendering import CHART, objects
from tests.cluster.scraping import dashboard_queries

Promtool = Callable[..., None]
CASES = Path(__file__).with_name("alerts_test.yaml")
ALERTS = [
    rule for group in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
NAMES = [alert["alert"] for alert in ALERTS]


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")

    def run(*command: str) -> None:
        done = subprocess.run([found, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_alerts_fire_when_they_should(promtool: Promtool, tmp_path: Path) -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True}}}
    rules = next(found for found in objects(values) if found["kind"] == "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules["spec"]))
    cases = yaml.safe_load(CASES.read_text()) | {"rule_files": ["rules.yaml"]}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))
    promtool("check", "rules", "rules.yaml")
    promtool("test", "rules", "cases.yaml")


def test_dashboards_ask_in_a_language_that_prometheus_knows(promtool: Promtool, tmp_path: Path) -> None:
    asked = [query.expression for query in dashboard_queries()]
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", "rules.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_a_case_where_it_fires_and_one_where_it_does_not(name: str) -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    wanted = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
    assert wanted == {True, False}


def test_each_alert_says_what_to_do_in_the_manual() -> None:
    manual = (CHART.parents[1] / "docs/operations.md").read_text()
    headings = {
        f"docs/operations.md#{title.lower()}" for title in re.findall(r"^#+ (Misstep\w+)$", manual, re.MULTILINE)
    }
    assert {alert["annotations"]["runbook"] for alert in ALERTS} == headings


SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def exported(registry: CollectorRegistry) -> set[str]:
    """Names of all series that a registry can have."""
    return {metric.name + suffix for metric in registry.collect() for suffix in SUFFIXES[metric.type]}


def test_only_metrics_that_somebody_exports_are_asked_for() -> None:
    """In panels, in variables and in alerts."""
    texts = [alert["expr"] for alert in ALERTS] + [file.read_text() for file in CHART.glob("dashboards/*.json")]
    asked = {name for text in texts for name in re.findall(r"\bmisstep_\w+", text)}
    assert asked <= exported(Metrics().registry) | exported(telemetry.REGISTRY)


def test_operator_and_stages_have_no_name_in_common() -> None:
    """Alerts and sums over one of them would count the other."""
    assert not exported(Metrics().registry) & exported(telemetry.REGISTRY)


def test_everything_that_is_exported_is_on_a_dashboard() -> None:
    shown = " ".join(query.expression for query in dashboard_queries())
    for registry in (Metrics().registry, telemetry.REGISTRY):
        assert [metric.name for metric in registry.collect() if metric.name not in shown] == []


def test_an_alert_can_be_left_out() -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True, "disabled": ["MisstepStageRetried"]}}}
    rules = next(found for found in objects(values) if found["kind"] == "PrometheusRule")
    left = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert left == [name for name in NAMES if name != "MisstepStageRetried"]


def test_a_group_of_which_nothing_is_left_is_left_out() -> None:
    (group, *_), *others = [
        (each, *(rule["alert"] for rule in each["rules"]))
        for each in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    ]
    disabled = [rule["alert"] for rule in group["rules"]]
    values = {"metrics": {"prometheusRule": {"enabled": True, "disabled": disabled}}}
    rules = next(found for found in objects(values) if found["kind"] == "PrometheusRule")
    assert rules["spec"]["groups"] == [other for other, *_ in others]


def test_where_the_operator_is_said_to_stand_still_it_is_not_alive_either() -> None:
    """As slow as its values allow: the alert says that the liveness probe should have it started again."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    slowest = schema["properties"]["operator"]["properties"]["resyncSeconds"]["maximum"]
    (stalled,) = (alert["expr"] for alert in ALERTS if alert["alert"] == "MisstepOperatorNotSyncing")
    threshold = int(re.findall(r"> (\d+)", stalled)[0])
    settings = Settings(images={}, resync_seconds=slowest)
    operator = Controller(create_autospec(KubernetesApi), create_autospec(Reconciler), settings, Metrics())
    operator.last_list -= threshold - 5
    assert operator.alive, "the alert could fire while all is well"
    operator.last_list -= 5
    assert not operator.alive
