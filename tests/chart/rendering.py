"""The chart as Helm renders it, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).parents[2] / "charts/misstep"
CHECK = (CHART / "files/check.py").read_text()


def render(values: Mapping[str, Any] | None = None) -> dict[str, str]:
    """File name of each template -> what it renders to."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(dict(values or {}), name="misstep", namespace="system")
    return {Path(path).name: text for path, text in rendered.items()}


def objects(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All objects of a release."""
    return [
        found
        for path, text in render(values).items()
        if path != "NOTES.txt"
        for found in yaml.safe_load_all(text)
        if found
    ]


def pod_specs(values: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Namespace and name of each pod, or of the Deployment that makes it -> the pod's spec."""
    return {
        f"{found['metadata']['namespace']}/{found['metadata']['name']}": found["spec"]
        if found["kind"] == "Pod"
        else found["spec"]["template"]["spec"]
        for found in objects(values)
        if found["kind"] in ("Pod", "Deployment")
    }
