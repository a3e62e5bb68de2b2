"""Of several training processes only the first serves Prometheus."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from misstep.plan.frozen import Resources
from misstep.processes import free_port
from tests.training import small, stages
from tests.training.ranks import World

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("processes", [1, 2])
def test_one_process_counts_for_all(base: Path, tmp_path: Path, processes: int) -> None:
    world, port = World(tmp_path, base), free_port()
    params = stages.sft_params(optimiser=small.optimiser(epochs=3, batch_size=6, micro_batch_size=6))
    together = {"processes_per_node": 2, "zero_stage": 2} if processes == 2 else {}
    stage = world.stage(params, Resources(cpus=2, **together))
    process = world.start(stage, MISSTEP_METRICS_PORT=port)
    seen: dict[str, float] = {}
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:
            time.sleep(0.05)
            continue
        seen = {sample.name: sample.value for family in families for sample in family.samples}
        time.sleep(0.1)
    assert process.returncode == 0, world.log(stage)
    assert "no metrics are served" not in world.log(stage)
    summary = world.summary(stage)
    steps = seen["misstep_training_steps_total"]
    assert 0 < steps <= summary["steps"]
    assert seen["misstep_training_tokens_total"] == pytest.approx(summary["tokens"] / summary["steps"] * steps)
    assert 0 < seen["misstep_shard_progress_ratio"] <= 1
    assert seen["misstep_training_loss"] > 0
