"""A stage's process as Prometheus sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from misstep import telemetry
from misstep.generation.engine import Completion
from misstep.processes import free_port
from misstep.stages.shell import run_stage
from misstep.store.description import Storage
from misstep.terms.verdict import Verdict
from misstep.verification.verifier import Verifier
from tests.stages import making
from tests.stages.work import REGISTRY


def scraped(port: int) -> dict[str, float]:
    """Every series, as ``name{label=value}``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f"{{{label}={value}}}" for label, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_stage_serves_metrics_on_the_given_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MISSTEP_METRICS_PORT", str(port))
    run_stage(making.samples(Storage(uri=tmp_path.as_uri())), registry=REGISTRY)
    before = scraped(port)
    assert before["misstep_shard_progress_ratio"] == 1.0
    assert any(name.startswith("misstep_stage_build_info{version=") for name in before)
    telemetry.PENDING_SAMPLES.inc(3)
    telemetry.count_samples([Completion((1, 2), "", "stop"), Completion((1, 2, 3), "", "length")])
    telemetry.count_prompt_tokens(10, 4)
    telemetry.count_verdicts([Verdict.CORRECT, Verdict.WRONG, Verdict.CORRECT])
    grown = {name: value - before.get(name, 0.0) for name, value in scraped(port).items()}
    assert {name: value for name, value in grown.items() if value} == {
        "misstep_samples_pending": 1.0,
        "misstep_generated_tokens_total": 5.0,
        "misstep_samples_total{finish=stop}": 1.0,
        "misstep_samples_total{finish=length}": 1.0,
        "misstep_prompt_tokens_total{cached=false}": 6.0,
        "misstep_prompt_tokens_total{cached=true}": 4.0,
        "misstep_verdicts_total{outcome=correct}": 2.0,
        "misstep_verdicts_total{outcome=wrong}": 1.0,
    }
    telemetry.PENDING_SAMPLES.set(0)


@pytest.mark.parametrize("port", ["in use", "http", "70000"])
def test_a_port_that_cannot_be_had_does_not_stop_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], port: str
) -> None:
    with socket.create_server(("", 0)) as taken:
        monkeypatch.setenv("MISSTEP_METRICS_PORT", str(taken.getsockname()[1]) if port == "in use" else port)
        result = run_stage(making.samples(Storage(uri=tmp_path.as_uri())), registry=REGISTRY)
    assert result.committed
    assert "no metrics are served" in "".join(capfd.readouterr())


def test_without_a_port_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISSTEP_METRICS_PORT", raising=False)
    code = (
        "import threading, misstep.telemetry as t; t.serve(lambda: 0.5); "
        "assert threading.active_count() == 1; assert t.PROGRESS.collect()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_answers_with_a_worker_are_seen_as_waiting() -> None:
    seen = []
    with Verifier() as verifier:
        for _ in verifier.judge((f"\\boxed{{(x+{n})^2}}", f"$x^2 + {2 * n}x + {n * n}$") for n in range(1, 30)):
            seen.append(telemetry.REGISTRY.get_sample_value("misstep_comparisons_pending"))
    assert max(filter(None, seen)) > 1
    assert telemetry.REGISTRY.get_sample_value("misstep_comparisons_pending") == 0


@pytest.mark.no_cover
def test_counting_costs_next_to_nothing() -> None:
    """An engine finishes some thousand requests a second at most, on the smallest of models."""
    completions = [Completion((1,) * 50, "", "stop")] * 4
    began = time.perf_counter()
    for _ in range(1000):
        telemetry.count_samples(completions)
        telemetry.count_prompt_tokens(40, 30)
    spent = time.perf_counter() - began
    telemetry.PENDING_SAMPLES.set(0)
    print(f"{spent * 1000:.1f} microseconds a request")
    assert spent < 0.5
