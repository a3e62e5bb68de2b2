"""Every alert fires when it should and not before: promtool over the rules as the chart installs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import CHART, objects

CASES = Path(__file__).with_name("alerts_test.yaml")
ALERTS = [
    rule for group in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
NAMES = [alert["alert"] for alert in ALERTS]
METRICS = {
    "misstep_experiments",
    "misstep_stage_progress_ratio",
    "misstep_stage_attempts",
    "misstep_stage_duration_seconds",
    "misstep_experiment_stages",
    "misstep_reconcile_duration_seconds",
    "misstep_reconcile_errors_total",
    "misstep_last_resync_timestamp_seconds",
    "misstep_store_readable",
    "misstep_build_info",
}
"""What the operator exports."""


def test_promtool(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    rules = next(
        found
        for found in objects({"metrics": {"prometheusRule": {"enabled": True}}})
        if found["kind"] == "PrometheusRule"
    )
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules["spec"]))
    cases = yaml.safe_load(CASES.read_text()) | {"rule_files": ["rules.yaml"]}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "cases.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


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


def test_only_metrics_that_the_operator_exports_are_asked_for() -> None:
    texts = [alert["expr"] for alert in ALERTS] + [file.read_text() for file in CHART.glob("dashboards/*.json")]
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for text in texts for name in re.findall(r"\bmisstep_\w+", text)}
    assert asked <= METRICS


def test_an_alert_can_be_left_out() -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True, "disabled": ["MisstepStageRetried"]}}}
    rules = next(found for found in objects(values) if found["kind"] == "PrometheusRule")
    left = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert left == [name for name in NAMES if name != "MisstepStageRetried"]
