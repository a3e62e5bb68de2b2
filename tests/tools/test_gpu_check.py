"""`make gpu-check` as far as possible on a machine without a GPU: real stages, vLLM and two gloo ranks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import shapes
from tools.gpu_check import checks, surroundings
from tools.gpu_check.world import NotTriedError, World
from tools.wheel_choice import direct_needs

ROOT = Path(__file__).parents[2]


def gpu_check(*more: str, hide_gpus: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/nowhere"} if hide_gpus else None
    command = [sys.executable, "-m", "tools.gpu_check", *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_checks_run_and_results_are_distinguished(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    done = gpu_check("--on-cores", "--skip", "zero3", "shapes", "--work", str(tmp_path))
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


@pytest.mark.slow
def test_a_tiny_shape_is_measured_beside_the_plan(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/shapes.py"), "--parts", "dpo", "dpo-apart"]
    command += ["--json", str(tmp_path / "found.json"), "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (tmp_path / "found.json").exists(), done.stderr
    held = json.loads((tmp_path / "found.json").read_text())
    found = {one["part"]: one for one in held["parts"]}
    assert not held["problems"]
    assert 0.7 < found["dpo"]["peak_mib"] / found["dpo"]["plan_mib"] < 1.15
    assert found["dpo"]["shared"]
    assert not found["dpo-apart"]["shared"]
    assert found["dpo"]["rate"] > found["dpo-apart"]["rate"] > 0
    assert found["dpo"]["losses"] == pytest.approx(found["dpo-apart"]["losses"], abs=1e-3)


def test_what_a_benchmark_of_a_shape_found_is_judged() -> None:
    good: dict[str, Any] = {"part": "sft", "peak_mib": 110.0, "plan_mib": 100.0, "rate": 50.0, "plan_rate": 25.0}
    shared: dict[str, Any] = {"part": "dpo", "shared": True, "rate": 3.0, "losses": [0.7, 0.6]}
    apart: dict[str, Any] = {"part": "dpo-apart", "shared": False, "rate": 2.0, "losses": [0.7, 0.5]}
    assert shapes.problems([good, shared, apart, {"part": "vllm", "note": "not tried"}]) == []
    assert shapes.summary([good, shared, apart]) == (
        "memory over plan: sft 1.10; tokens/s over plan: sft 2.00; "
        "DPO with a shared prefix is 1.50 times as fast, losses at most 1.0e-01 apart"
    )
    bad = [good | {"peak_mib": 120.0}, shared | {"shared": False}, {"part": "vllm", "failed": "out of memory"}]
    assert [problem.split()[0] for problem in shapes.problems(bad)] == ["vllm:", "sft", "dpo:"]


def test_a_check_that_fails_says_why_and_keeps_others_from_comparing_with_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store-one"
    store.write_text("no folder")
    done = gpu_check("--on-cores", "--skip", "shapes", "--work", str(tmp_path))
    assert done.returncode == 1
    assert '"whole": "FAIL"' in done.stdout
    assert '"zero3": "not tried"' in done.stdout


def test_without_a_gpu_it_says_what_to_do() -> None:
    done = gpu_check(hide_gpus=True)
    assert done.returncode == 1
    assert "--on-cores" in done.stdout


def test_without_vllm_what_needs_it_is_not_tried_and_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "told", lambda: {"left_out": {"vllm": "too large"}})
    world = World(tmp_path, 0, [], "transformers")
    for check in (checks.greedy, checks.tensor):
        with pytest.raises(NotTriedError, match=r"vllm is not installed \(too large\)"):
            check(world)


def test_without_deepspeed_zero_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert surroundings.engine_here() == "transformers"
    with pytest.raises(NotTriedError, match="deepspeed is not installed"):
        checks.zero(2, World(tmp_path, 2, []))


def test_without_the_hub_the_example_needs_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotTriedError, match="DATA=, MODEL="):
        checks.example(World(tmp_path, 1, ["--data", "gsm8k=x"]))


def test_packages_that_are_missing_are_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {name: "1" for name in direct_needs() if name not in {"trl", "boto3", "deepspeed"}}
    monkeypatch.setattr(surroundings, "version_here", there.get)
    assert surroundings.missing() == ["trl: run `make setup`"]


def test_versions_that_differ_from_the_lock_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "version_here", {"torch": "2.0.0+cu1", "trl": "1.0"}.get)
    remarks = {name: remark for name, _, _, remark in surroundings.versions()}
    assert remarks["torch"].startswith("the machine's own")
    assert remarks["trl"] == "differs"
    assert remarks["vllm"] == "not installed"
