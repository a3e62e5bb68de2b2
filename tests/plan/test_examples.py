"""The paper's experiments are valid, planned without a network or a GPU, and fit their resources."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from misstep.api.opening import load, make_costed_plan
from misstep.cost.fit import refuse_misfits
from misstep.cost.show import GROUP_HEADER, group_rows, total_lines
from misstep.plan.params import SampleParams
from misstep.spec import load_experiment

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path for end in ("7b", "1.5b", "teacher") for path in FOLDER.glob(f"*-{end}.yaml"))


def test_the_papers_grid_is_there() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "gsm8k-deepseek-math-7b",
        "gsm8k-llama-2-7b",
        "gsm8k-qwen2.5-math-1.5b",
        "gsm8k-teacher",
        "math-deepseek-math-7b",
        "math-llama-2-7b",
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_it_costs(path: Path, snapshot: SnapshotAssertion) -> None:
    """A change here changes what users see: check it before accepting it."""
    plan, cost = make_costed_plan(load(path, "s3://bucket/misstep"))
    refuse_misfits(cost)
    rows = [GROUP_HEADER, *group_rows(plan, cost, set())]
    assert "\n".join([*(" | ".join(row) for row in rows), *total_lines(plan, cost, set())]) == snapshot
    assert cost.hours(on_gpu=True) > 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_compares_the_papers_arms_at_powers_of_two(path: Path) -> None:
    spec = load_experiment(path).spec
    assert [(arm.method, arm.pairs) for arm in spec.arms] == [
        ("sft", None),
        ("rft", None),
        ("dpo", "random"),
        ("dpo", "shared-prefix"),
    ]
    sizes = spec.problems.sizes
    assert {large / small for small, large in pairwise(sizes)} == {2.0}
    assert spec.credit.negatives_per_problem == 8
    assert spec.credit.best_of == 5
    assert spec.policy.prompt.preset in ("gsm8k-base", "math-base")
    plan, _ = make_costed_plan(load(path))
    assert all(params.decoding.stop for s in plan.stages if isinstance(params := s.typed_params(), SampleParams))
