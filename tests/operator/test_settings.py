"""The operator's environment, and its metrics."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from misstep.errors import BadInput
from misstep_operator.metrics import Metrics
from misstep_operator.settings import read_settings
from tests.operator.world import World

IMAGES = {
    f"MISSTEP_IMAGE_{service}": f"misstep-{service.lower()}:1"
    for service in ("GENERATION", "VERIFICATION", "CREDIT", "TRAINING", "EVALUATION")
}


def test_settings_and_what_is_missing() -> None:
    found = read_settings({**IMAGES, "MISSTEP_WATCH_NAMESPACES": "a, b", "MISSTEP_RESYNC_SECONDS": "2.5"})
    assert (found.namespaces, found.resync_seconds, found.metrics_port) == (("a", "b"), 2.5, 8080)
    with pytest.raises(BadInput, match="MISSTEP_IMAGE_CREDIT"):
        read_settings({name: value for name, value in IMAGES.items() if "CREDIT" not in name})
    with pytest.raises(BadInput, match="MISSTEP_RESYNC_SECONDS"):
        read_settings({**IMAGES, "MISSTEP_RESYNC_SECONDS": "soon"})


def test_metrics_follow_statuses_and_go_with_their_experiment() -> None:
    metrics, world = Metrics(), World()
    world.step()
    seen = world.observe()
    metrics.saw(seen.experiment, world.status, seen)
    text = generate_latest(metrics.registry).decode()
    assert 'misstep_experiments{state="Running"} 1.0' in text
    assert 'misstep_stage_progress_ratio{experiment="e",namespace="ns",stage="problems"} 0.0' in text
    assert 'misstep_experiment_stages{experiment="e",namespace="ns",state="waiting"} 13.0' in text
    assert 'misstep_store_readable{experiment="e",namespace="ns"} 1.0' in text
    metrics.forget("ns", "e")
    text = generate_latest(metrics.registry).decode()
    assert "misstep_stage_progress_ratio{" not in text
    assert "misstep_build_info" in text
