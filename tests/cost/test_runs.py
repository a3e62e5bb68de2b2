"""The cost model against a real run: tokens and memory within 15%. `benchmarks/cost.py` does the same at length."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.cost import compare

from misstep.api.opening import load, make_costed_plan, store_of
from misstep.artifacts.manifest import read_manifest
from tests.runner.small import misstep


@pytest.mark.slow
def test_a_small_run_costs_what_was_predicted(tmp_path: Path) -> None:
    done = misstep(tmp_path, "run", "small.yaml", "--isolate", "--only", "sample-d60-s0")
    assert done.returncode == 0, done.stdout + done.stderr
    plan, cost = make_costed_plan(load(tmp_path / "small.yaml", f"file://{tmp_path / '.misstep' / 'store'}"))
    store = store_of(plan)
    found = {stage.name: read_manifest(store, stage.key) for stage in plan.stages}
    compared = list(compare(cost.stages, {name: m for name, m in found.items() if m is not None}))
    assert {(one.kind, one.what) for one in compared} == {
        ("sft", "tokens trained"),
        ("sft", "peak MiB"),
        ("sample", "tokens generated"),
        ("sample", "tokens read"),
        ("sample", "peak MiB"),
    }
    assert not [one for one in compared if not one.close]
