"""`make gpu-check` as far as possible on a machine without a GPU: real stages, vLLM and two gloo ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def gpu_check(*more: str, hide_gpus: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/nowhere"} if hide_gpus else None
    command = [sys.executable, str(ROOT / "tools/gpu_check.py"), *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_checks_run_and_results_are_distinguished(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    done = gpu_check("--on-cores", "--skip", "zero3", "--work", str(tmp_path))
    assert done.returncode == 0, done.stdout
    outcomes = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert outcomes == {
        "whole": "pass",
        "greedy": "pass",
        "tensor": "not tried",
        "zero2": "pass",
        "example": "not tried",
    }
    assert "nothing here ran on a GPU" in done.stdout


def test_a_check_that_fails_says_why_and_keeps_others_from_comparing_with_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store-one"
    store.write_text("no folder")
    done = gpu_check("--on-cores", "--work", str(tmp_path))
    assert done.returncode == 1
    assert '"whole": "FAIL"' in done.stdout
    assert '"zero3": "not tried"' in done.stdout


def test_without_a_gpu_it_says_what_to_do() -> None:
    done = gpu_check(hide_gpus=True)
    assert done.returncode == 1
    assert "--on-cores" in done.stdout
