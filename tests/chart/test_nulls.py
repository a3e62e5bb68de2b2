"""A value of null, which Helm treats as absent; and the chart as a part of another one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart
from helm_python.errors import HelmError

from tests.chart.rendering import CHART, render

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of the values, also those of maps that users fill."""
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


@pytest.mark.parametrize("path", list(paths(VALUES)), ids=".".join)
def test_a_value_of_null_renders_or_fails_with_its_name(path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {path[-1]: None}
    for name in reversed(path[:-1]):
        values = {name: values}
    try:
        rendered = render(values)
    except HelmError as error:
        assert path[-1] in str(error), error
        assert all(name in str(error) for name in path[:-1]), error
        assert "nil pointer" not in str(error)
    else:
        for name, text in rendered.items():
            assert "<no value>" not in text, name
            if name != "NOTES.txt":
                list(yaml.safe_load_all(text))


@pytest.mark.parametrize(
    "rule",
    [{"namespaces": None}, {"namespaces": ["a"], "secrets": None}, {"namespaces": ["a"], "teachers": [{"url": None}]}],
    ids=str,
)
def test_a_null_in_a_rule_fails_with_its_name(rule: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match=r"policy.*rules.*(namespaces|secrets|url)"):
        render({"policy": {"rules": [rule]}})


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A chart on disk that has this one as a part, under a condition."""
    dependency = {"name": "misstep", "version": "0.1.0", "condition": "misstep.enabled"}
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    tmp_path.joinpath("Chart.yaml").write_text(yaml.safe_dump(chart))
    tmp_path.joinpath("values.yaml").write_text("misstep: {enabled: true, image: {registry: registry.example.com}}\n")
    shutil.copytree(CHART, tmp_path / "charts/misstep")
    return tmp_path


@pytest.mark.parametrize("enabled", [True, False])
def test_a_parent_charts_condition_decides(parent: Path, enabled: bool) -> None:
    values = {"global": {"registry": "elsewhere"}, "misstep": {"enabled": enabled}}
    with Chart.load(parent) as chart:
        rendered = chart.render(values, name="platform", namespace="system")
    operators = [text for path, text in rendered.items() if path.endswith("misstep/templates/operator.yaml")]
    assert bool(operators) == enabled
    assert all("registry.example.com/misstep-operator:" in text for text in operators)


def test_a_null_in_a_parent_chart_fails_with_its_name(parent: Path) -> None:
    with Chart.load(parent) as chart, pytest.raises(HelmError, match="livenessProbe"):
        chart.render({"misstep": {"operator": {"livenessProbe": None}}}, name="platform", namespace="system")
