"""The schema of the chart's values: strict, complete, and it names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helm_python import Chart
from helm_python.errors import HelmError, HelmValuesError

from tests.chart.rendering import CHART, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"watchNamespace": ["a"]}, "watchNamespace"),
        ({"operator": {"resource": {}}}, "resource"),
        ({"operator": {"resources": {"request": {}}}}, "request"),
        ({"images": {"operater": {}}}, "operater"),
        ({"images": {"operator": {"tags": "x"}}}, "tags"),
        ({"metrics": {"serviceMonitor": {"enable": True}}}, "enable"),
        ({"operator": {"tolerations": [{"keys": "x"}]}}, "keys"),
        ({"stages": {"serviceAccount": {"annotation": {}}}}, "annotation"),
        ({"devS3": {"persistence": {"siz": "1Gi"}}}, "siz"),
        ({"stages": {"defaults": {"nodeSelectors": {}}}}, "nodeSelectors"),
        ({"stages": {"defaults": {"volumes": [{"mountPath": "/a", "configmap": "ca"}]}}}, "configmap"),
    ],
)
def test_a_typo_fails_with_the_keys_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(HelmError, match=rf"additional properties '{named}' not allowed"):
        render(values)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"image": {"pullPolicy": "Sometimes"}}, "image/pullPolicy"),
        ({"operator": {"resyncSeconds": 0}}, "operator/resyncSeconds"),
        ({"operator": {"resyncSeconds": "10"}}, "operator/resyncSeconds"),
        ({"operator": {"resyncSeconds": 21}}, "operator/resyncSeconds"),
        ({"metrics": {"prometheusRule": {"disabled": ["MisstepStageRetreid"]}}}, "metrics/prometheusRule/disabled/0"),
        ({"watchNamespaces": "team"}, "watchNamespaces"),
        ({"watchNamespaces": ["Team"]}, "watchNamespaces/0"),
        ({"images": {"training": {"digest": "latest"}}}, "images/training/digest"),
        ({"operator": {"resources": {"limits": {"memory": "lots"}}}}, "operator/resources/limits/memory"),
        ({"test": {"storage": {"uri": "file:///data"}}}, "test/storage/uri"),
        ({"metrics": {"podMonitor": {"interval": "30"}}}, "metrics/podMonitor/interval"),
        ({"stages": {"defaults": {"sharedMemory": "8GB"}}}, "stages/defaults/sharedMemory"),
        ({"stages": {"defaults": {"volumes": [{"secret": "a"}]}}}, "stages/defaults/volumes/0"),
        ({"stages": {"defaults": {"env": [{"name": "A", "value": 1}]}}}, "stages/defaults/env/0/value"),
    ],
)
def test_a_wrong_value_fails_with_its_place(values: dict[str, Any], where: str) -> None:
    with Chart.load(CHART) as chart, pytest.raises(HelmValuesError, match=where):
        chart.validate_schema(values)


def test_a_chart_that_holds_this_one_may_hand_globals_down() -> None:
    render({"global": {"anything": 1}})


def test_no_object_of_ours_takes_unknown_fields() -> None:
    for where, found in objects_in(SCHEMA, "values"):
        assert found["additionalProperties"] is False, where


def objects_in(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object with fields."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            yield where, schema
        for name, inner in schema.items():
            yield from objects_in(inner, f"{where}.{name}")
